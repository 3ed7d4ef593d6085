"""What is stored for a number that is deleted, or for a tenant that is erased, ends."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from services.delivery.storage.calls import KEPT
from shared.contracts.directory import EntityKind, directory_key
from shared.contracts.envelope import Envelope, timestamp
from shared.contracts.records import InRecord
from shared.mongo.client import Database
from tests.integration.delivery.conftest import MakePod
from tests.integration.delivery.delivery_rig import (
    NUMBER,
    TENANT,
    GraphControl,
    Log,
    Pod,
    in_record,
    send,
    until,
)

pytestmark = pytest.mark.integration

CHAT = {"conversation_id": "chat-1", "number_id": NUMBER}
FETCH = CHAT | {
    "message_id": "m1",
    "whatsapp_media_id": "999",
    "url": "https://lookaside.fbsbx.com/x",
}
BLOCK = {
    "contact_id": "contact-1",
    "number_id": NUMBER,
    "recipient": {"wa_id": "12025550111"},
    "blocked": True,
    "contact_version": 3,
}
NOTICE = CHAT | {
    "epoch": 1,
    "version": 3,
    "type": "message.received",
    "at": "2026-06-01T12:00:00.000Z",
    "data": {},
}
COMMANDS = {
    "media.fetch": FETCH,
    "contact.block": BLOCK,
    "message.read": CHAT | {"wamid": "wamid.X"},
    "templates.sync": {"number_id": NUMBER},
    "number.resume": {"number_id": NUMBER, "stopped_at": "2026-06-01T12:00:00.000Z"},
    "bot.notify": NOTICE,
}


def deleted(kind: str, key: bytes, topic: str) -> InRecord:
    headers = Envelope("d", kind, "inbox", timestamp(datetime.now(UTC)), TENANT).headers()
    return InRecord(topic, 0, 0, key, None, tuple(headers), 0)


def number_deleted(pod: Pod) -> None:
    pod.know(deleted("credentials.number", NUMBER.encode(), "credentials.v1"))


def tenant_erased(pod: Pod) -> None:
    key = directory_key(TENANT, EntityKind.TENANT, TENANT)
    pod.engine.numbers.apply_directory(deleted("directory.tenant", key, "directory.v1"))


def erased_with_its_number(pod: Pod) -> None:
    tenant_erased(pod)
    assert pod.engine.schedule.is_suspended(TENANT)
    number_deleted(pod)


def number_deleted_and_erased(pod: Pod) -> None:
    number_deleted(pod)
    tenant_erased(pod)


async def left(database: Database, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await database[name].find({}).to_list(None)
    return [each for each in found if "open" in each or "payload" in each or "body" in each]


async def emptied(database: Database, name: str) -> None:
    async with asyncio.timeout(8):
        while await left(database, name):  # noqa: ASYNC110 - a poll
            await asyncio.sleep(0.02)


@pytest.fixture
async def stopped(pod: Pod, graph: GraphControl, events: Log) -> Pod:
    """Its number is stopped, and something of each kind waits for it."""
    await graph.fault(error=190, match={"call": "send"}, times=1)
    await pod.take_in(send("m0", 1))
    await until(lambda: events.events("number.stopped"))
    await pod.take_in(*(in_record(kind, payload) for kind, payload in COMMANDS.items()))
    await pod.take_in(send("m9", 2))
    return pod


@pytest.mark.parametrize("end", [number_deleted, erased_with_its_number, number_deleted_and_erased])
async def test_regression_what_waits_for_a_number_ends_with_it(
    stopped: Pod, events: Log, database: Database, end: Callable[[Pod], None]
):
    end(stopped)
    await emptied(database, "calls")
    await until(lambda: events.outcomes("m9"))
    await emptied(database, "sends")
    told = {e.type: data["error"]["code"] for e, data in events.events() if data.get("error")}
    told.pop("number.stopped")
    assert told == dict.fromkeys(("media.failed", "block.failed", "send.failed"), "number_deleted")
    assert events.outcomes("m0") == events.outcomes("m9") == ["send.failed"]
    async for record in database["calls"].find({}):
        assert record["expires_at"] <= datetime.now(UTC) + KEPT
    assert not stopped.engine.numbers.stops()


async def test_stop_of_a_deleted_number_is_over_in_every_pod(
    stopped: Pod, make_pod: MakePod, database: Database
):
    await stopped.stop()
    second = make_pod()
    await second.start()
    await until(second.engine.numbers.stops)
    number_deleted(second)
    await emptied(database, "calls")
    async with asyncio.timeout(8):
        while await database["numbers"].count_documents({}):  # noqa: ASYNC110 - a poll
            await asyncio.sleep(0.02)


async def test_number_that_the_topics_have_not_had_for_an_hour_is_gone(
    stopped: Pod, make_pod: MakePod, events: Log, database: Database
):
    await stopped.stop()
    second = make_pod()
    await second.start(known=False)
    numbers = second.engine.numbers
    assert not numbers.is_gone(TENANT, NUMBER)
    second.advance(3700)
    # The hour begins when the topics were read to their ends.
    numbers.complete.set()
    assert not numbers.is_gone(TENANT, NUMBER)
    assert len(await left(database, "sends")) == 2
    second.advance(3700)
    await emptied(database, "calls")
    await until(lambda: events.outcomes("m9"))
    assert events.outcomes("m0") == events.outcomes("m9") == ["send.failed"]
