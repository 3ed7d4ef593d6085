"""The failing traces of `models/inbox_model.py` as schedules of the real code.

Each schedule runs twice: by the rules it ends well, and with its own rule left out the checker
says what broke. The numbers are those of `models/run_all.py`, the letters the checker's.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from services.inbox.app.conversations import Conversations
from shared.contracts.errors import TransientError
from tests.support import left_out
from tests.support.pods import World
from tests.support.scripted_publisher import FirstRefused, KafkaAway, Late
from tests.support.write_path_checker import violations

pytestmark = pytest.mark.integration
Schedule = Callable[[World], Awaitable[None]]


async def looked_up_beside_the_load(world: World) -> None:
    """I1: between the two reads of one pod another one applies the same batch wholly."""
    one, other = world.pod(), world.pod()
    between = other.script.hold("loaded")
    zombie = other.consume(world.message("m1"))
    await between.reached()
    await one.consume_again()
    await one.trim()
    between.release()
    await zombie


async def folded_again_after_a_lost_commit(world: World) -> None:
    """I2: the compare-and-set is lost to a pod that published and trimmed the same message."""
    one, other = world.pod(), world.pod()
    before_commit = other.script.hold("looked_up")
    zombie = other.consume(world.message("m1"))
    await before_commit.reached()
    await one.consume_again()
    await one.trim()
    before_commit.release()
    await zombie


async def message_only_in_the_outbox(world: World) -> None:
    """I3: the same message comes while its document is not written yet."""
    one, other = world.pod(), world.pod()
    before_write = one.script.hold("write")
    writing = one.consume(world.message("m1"))
    await before_write.reached()
    await other.consume_again()
    before_write.release()
    await writing


async def committed_ahead(world: World) -> None:
    """I4: a call commits behind an event that its committer never sent."""
    one, other = world.pod(), world.pod()
    before_send = one.script.hold("send")
    one.consume(world.message("m1"))
    await before_send.reached()
    await other.label("l1")
    await other.published()
    await one.crash()


async def trimmed_behind_a_newer_commit(world: World) -> None:
    """I5: a pod trims what it published after another one committed behind it."""
    await world.pod().consume(world.message("m1"))
    first, second, third = world.pod(), world.pod(), world.pod()
    await first.label("l1")
    await first.published()
    before_send = second.script.hold("send")
    await second.label("l2")
    await before_send.reached()
    await first.trim()
    await third.label("l3")
    await third.published()
    before_send.release()
    await second.published()


async def trimmed_before_the_documents(world: World) -> None:
    """I6: the event is on the topic, its documents are not written, the pod trims and dies."""
    one, other = world.pod(), world.pod()
    before_write = one.script.hold("write")
    one.consume(world.message("m1"))
    await before_write.reached()
    await one.publisher.answered.wait()
    await one.trim()
    await one.crash()
    await other.consume_again()


async def documents_written_late(world: World) -> None:
    """I7: a sweeper that read an old outbox writes its documents after newer ones."""
    one, sweeper = world.pod(), world.pod()
    await one.consume(world.echo("m1"))
    await one.trim()
    await one.consume(world.status("m1", "delivered"))
    before_write = sweeper.script.hold("write")
    sweeping = sweeper.sweep()
    await before_write.reached()
    await one.trim()
    await one.consume(world.status("m1", "read"))
    await one.trim()
    before_write.release()
    await sweeping


async def committed_behind_what_was_only_sent(world: World) -> None:
    """I8: a pod commits again while its last events are still on their way, and may never land."""
    pod = world.pod()
    lost = Late()
    pod.publisher.expect(lost)
    with pytest.raises(TransientError):
        await pod.consume(world.message("m1"))
    await pod.label("l1")
    await pod.published()
    await lost.land()


async def first_record_of_a_run_refused(world: World) -> None:
    """I9: the broker refuses the first of two events for good."""
    pod = world.pod()
    pod.publisher.expect(FirstRefused())
    with pytest.raises(TransientError):
        await pod.consume(world.message("m1"), world.message("m2"))
    await pod.crash()


async def outbox_overwritten(world: World) -> None:
    """I10: a call commits behind what could not be produced, and dies before it produces it."""
    one, other = world.pod(), world.pod()
    one.publisher.expect(KafkaAway())
    before_write = one.script.hold("write")
    consuming = one.consume(world.message("m1"))
    await before_write.reached()
    before_send = other.script.hold("send")
    other.script.hold("write")
    await other.label("l1")
    await before_send.reached()
    await other.crash()
    await one.crash()
    assert consuming.cancelled()


TRACES = [
    pytest.param(looked_up_beside_the_load, left_out.LookUpBeforeLoad, "b", id="I1"),
    pytest.param(folded_again_after_a_lost_commit, left_out.RefoldWithoutLookUp, "b", id="I2"),
    pytest.param(message_only_in_the_outbox, left_out.OutboxNotOverlaid, "b", id="I3"),
    pytest.param(committed_ahead, left_out.PublishesOwnOnly, "c", id="I4"),
    pytest.param(trimmed_behind_a_newer_commit, left_out.TrimsEverything, "c", id="I5"),
    pytest.param(trimmed_before_the_documents, left_out.RemembersOnProduce, "b", id="I6"),
    pytest.param(documents_written_late, left_out.BlindDocuments, "f", id="I7"),
    pytest.param(committed_behind_what_was_only_sent, left_out.RemembersOnSend, "c", id="I8"),
    pytest.param(first_record_of_a_run_refused, left_out.LaterRecordsLand, "c", id="I9"),
    pytest.param(outbox_overwritten, left_out.CarriedInMemoryOnly, "b", id="I10"),
]


@pytest.mark.parametrize("schedule", [pytest.param(t.values[0], id=t.id) for t in TRACES])
async def test_trace_by_the_rules_ends_well(world: World, schedule: Schedule):
    async with asyncio.timeout(20):
        await schedule(world)
    assert await violations(world) == []


@pytest.mark.parametrize(("schedule", "rules", "broken"), TRACES)
async def test_trace_with_its_rule_left_out_is_noticed(
    world: World, schedule: Schedule, rules: type[Conversations], broken: str
):
    async with asyncio.timeout(20):
        await schedule(world)
    assert broken in {violation.rule for violation in await violations(world)}
