"""The join race of `models/races_model.py`: a fact and its message come at the same time.

Each schedule runs by the rules and with its own rule left out.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from services.inbox.app.conversations import Conversations
from tests.support import left_out
from tests.support.pods import World
from tests.support.write_path_checker import violations

pytestmark = pytest.mark.integration
Schedule = Callable[[World], Awaitable[None]]


async def fact_between_its_two_steps(world: World) -> None:
    """The message comes wholly while the fact stands between looking and putting."""
    facts, messages = world.pod(), world.pod()
    echo = world.echo("m1")
    between = facts.script.hold("pending_put")
    waiting = facts.consume(world.status("m1", "delivered"))
    await between.reached()
    await messages.consume(echo)
    await messages.trim()
    between.release()
    await waiting


async def message_before_its_document(world: World) -> None:
    """The fact comes wholly while the message is told and not yet written."""
    facts, messages = world.pod(), world.pod()
    before_write = messages.script.hold("write")
    writing = messages.consume(world.echo("m1"))
    await before_write.reached()
    await facts.consume(world.status("m1", "delivered"))
    before_write.release()
    await writing
    await messages.trim()


async def crash_between_document_and_join(world: World) -> None:
    """The message's pod trims and dies between its document and the facts that wait for it."""
    facts, messages = world.pod(), world.pod()
    echo = world.echo("m1")
    await facts.consume(world.status("m1", "delivered"))
    before_join = messages.script.hold("joining")
    messages.consume(echo)
    await before_join.reached()
    await messages.trim()
    await messages.crash()


RACES = [
    pytest.param(fact_between_its_two_steps, left_out.LooksThenPuts, id="put-then-look"),
    pytest.param(
        message_before_its_document, left_out.LooksBeforeItsDocument, id="write-then-look"
    ),
    pytest.param(
        crash_between_document_and_join, left_out.LooksAfterItIsRemembered, id="look-then-remember"
    ),
]


@pytest.mark.parametrize("schedule", [pytest.param(r.values[0], id=r.id) for r in RACES])
async def test_fact_joins_its_message(world: World, schedule: Schedule):
    async with asyncio.timeout(20):
        await schedule(world)
    assert await violations(world) == []


@pytest.mark.parametrize(("schedule", "rules"), RACES)
async def test_fact_is_lost_with_the_rule_left_out(
    world: World, schedule: Schedule, rules: type[Conversations]
):
    async with asyncio.timeout(20):
        await schedule(world)
    assert "a" in {violation.rule for violation in await violations(world)}


async def test_regression_publication_does_not_rely_on_anothers_join(world: World):
    """A call of the same pod published and trimmed the message whose join then died."""
    facts, messages = world.pod(), world.pod()
    echo = world.echo("m1")
    await facts.consume(world.status("m1", "delivered"))
    before_join = messages.script.hold("joining")
    messages.consume(echo)
    await before_join.reached()
    await messages.label("l1")
    await messages.published()
    await messages.trim()
    await messages.crash()
    assert await violations(world) == []
