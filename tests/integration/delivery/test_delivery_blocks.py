"""Opposites of one contact: whatever is retried, held up or lost, Meta has the newest wish."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from shared.contracts.events import BlockOutcome
from shared.mongo.client import Database
from tests.integration.delivery.conftest import MakePod
from tests.integration.delivery.delivery_rig import NUMBER, Log, Pod, credentials, in_record, until

pytestmark = pytest.mark.integration

TOO_BUSY = {"error": {"code": 139103, "message": "Internal error"}}
EXPIRED = {"error": {"code": 190, "message": "Access token has expired"}}


class BlockList:
    """Meta's list of one number. `answers` go first; a request that is held arrives late."""

    def __init__(self) -> None:
        self.blocked = False
        self.asked: list[bool] = []
        self.answers: deque[dict[str, Any]] = deque()
        self.holding = False
        self.held = 0
        self._go = asyncio.Event()
        self.url = ""

    def release(self) -> None:
        self.holding = False
        self._go.set()

    async def take(self, request: web.Request) -> web.Response:
        wish = request.method == "POST"
        if self.holding and not self.held:
            self.held += 1
            await self._go.wait()
        self.asked.append(wish)
        if self.answers:
            return web.json_response(self.answers.popleft(), status=500)
        self.blocked = wish
        return web.json_response({"messaging_product": "whatsapp", "block_users": {}})


@pytest.fixture
async def meta() -> AsyncIterator[BlockList]:
    found = BlockList()
    app = web.Application()
    app.router.add_route("*", "/v25.0/{number}/block_users", found.take)
    # What is under way is finished although whoever asked is gone, as a server's work is.
    runner = web.AppRunner(app, handler_cancellation=False, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    found.release()
    await runner.cleanup()


@pytest.fixture
async def asking(make_pod: MakePod, meta: BlockList) -> Pod:
    pod = another(make_pod, meta)
    await pod.engine.create_indexes()
    await pod.start()
    return pod


def another(make_pod: MakePod, meta: BlockList) -> Pod:
    return make_pod(graph_url=meta.url, graph_total=timedelta(seconds=20))


def wish(version: int, *, blocked: bool, chat: str = "chat-1", **changes: Any) -> dict[str, Any]:
    return {
        "contact_id": "contact-1",
        "number_id": NUMBER,
        "recipient": {"wa_id": "12025550111"},
        "blocked": blocked,
        "contact_version": version,
    } | changes


async def finished(pod: Pod, seconds: float = 8) -> None:
    async with asyncio.timeout(seconds):
        while await pod.engine.call_records.open_records(range(12)):  # noqa: ASYNC110 - a poll
            await asyncio.sleep(0.02)


async def test_regression_a_block_that_is_tried_again_does_not_undo_the_unblock(
    asking: Pod, meta: BlockList, events: Log
):
    meta.answers.append(TOO_BUSY)
    await asking.take_in(in_record("contact.block", wish(3, blocked=True)))
    await until(lambda: meta.asked)
    await asking.take_in(in_record("contact.block", wish(4, blocked=False)))
    await finished(asking)
    assert not meta.blocked
    outcomes = [BlockOutcome.model_validate(data) for _, data in events.events("block.done")]
    assert outcomes
    assert not any(outcome.blocked for outcome in outcomes)


async def test_of_what_waited_for_a_stopped_number_the_newest_alone_is_asked_for(
    asking: Pod, meta: BlockList, events: Log
):
    meta.answers.append(EXPIRED)
    other = wish(2, blocked=True, contact_id="contact-2")
    await asking.take_in(in_record("contact.block", other))
    await until(lambda: events.events("number.stopped"))
    wishes = (wish(6, blocked=True), wish(5, blocked=False), wish(3, blocked=True))
    await asking.take_in(*(in_record("contact.block", each) for each in wishes))
    asking.know(credentials(2, "token-2"))
    await finished(asking)
    assert meta.asked == [True, True, True]
    told = [(data["contact_id"], data["blocked"]) for _, data in events.events("block.done")]
    assert sorted(told) == [("contact-1", True), ("contact-2", True)]


async def test_wishes_of_other_numbers_and_contacts_are_their_own(asking: Pod, meta: BlockList):
    asking.know(credentials(number="number-2"))
    await asking.take_in(
        in_record("contact.block", wish(1, blocked=True)),
        in_record("contact.block", wish(2, blocked=False, number_id="number-2")),
        in_record("contact.block", wish(3, blocked=False, contact_id="contact-2")),
    )
    await finished(asking)
    assert sorted(meta.asked) == [False, False, True]


async def test_regression_a_block_under_way_is_followed_by_the_unblock(
    asking: Pod, meta: BlockList
):
    meta.holding = True
    await asking.take_in(in_record("contact.block", wish(3, blocked=True)))
    await until(lambda: meta.held)
    await asking.take_in(in_record("contact.block", wish(4, blocked=False)))
    await until(lambda: meta.asked)
    meta.release()
    await finished(asking)
    assert meta.asked == [False, True, False]


@pytest.mark.parametrize("killed", [False, True], ids=["rebalanced", "killed"])
async def test_block_that_arrives_after_its_pod_lost_it_is_followed_by_the_unblock(
    make_pod: MakePod, asking: Pod, meta: BlockList, killed: bool
):
    meta.holding = True
    await asking.take_in(in_record("contact.block", wish(3, blocked=True)))
    await until(lambda: meta.held)
    second = another(make_pod, meta)
    await second.start(partitions=[1])
    unblock = wish(4, blocked=False)
    await second.take_in(in_record("contact.block", unblock, key="chat-2", partition=1))
    await until(lambda: meta.asked == [False])
    if killed:
        await asking.stop()
        meta.release()
        await until(lambda: meta.blocked)
        second.assign(range(12))
    else:
        asking.assign(())
        second.assign(range(12))
        await finished(second)
        meta.release()
        await until(lambda: True in meta.asked)
    await until(lambda: not meta.blocked)
    await finished(second)
    assert not meta.blocked


async def test_newest_wish_is_read_without_looking_at_others(asking: Pod, database: Database):
    wishes = [wish(each, blocked=True, contact_id=f"other-{each}") for each in range(50)]
    wishes += [wish(each, blocked=True) for each in (3, 9)]
    await asking.take_in(*(in_record("contact.block", each) for each in wishes))
    await database.command("profile", 2)
    newest = await asking.engine.call_records.newest_wish("acme", NUMBER, "contact-1")
    await database.command("profile", 0)
    assert newest is not None
    assert newest.version == 9
    looks = await database["system.profile"].find({"op": "query"}).to_list(None)
    mine = [each for each in looks if "wish.contact" in each["command"].get("filter", {})]
    assert {each["docsExamined"] for each in mine} == {1}


async def test_stop_that_outlives_the_newer_wish_does_not_bring_the_older_one_back(
    asking: Pod, meta: BlockList, events: Log, database: Database
):
    meta.answers.append(EXPIRED)
    await asking.take_in(in_record("contact.block", wish(3, blocked=True)))
    await until(lambda: events.events("number.stopped"))
    await asking.take_in(in_record("contact.block", wish(4, blocked=False), event="newer"))
    await until(lambda: len(meta.asked) == 1)
    async with asyncio.timeout(8):
        while await database["calls"].count_documents({"wish.version": 4}) < 2:  # noqa: ASYNC110 - a poll
            await asyncio.sleep(0.02)
    # Long done elsewhere, and expired.
    await database["calls"].delete_one({"_id": "acme:newer"})
    asking.know(credentials(2, "token-2"))
    await finished(asking)
    assert meta.asked == [True, False]
