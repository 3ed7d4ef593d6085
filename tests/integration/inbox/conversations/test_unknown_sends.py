"""A send of unknown outcome, from delivery's word to the question: on the real inbox."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from services.inbox.app.foundation import now
from services.inbox.decisions.views import iso
from services.inbox.storage.conversations import ConversationStore
from services.inbox.storage.entries import CONVERSATIONS
from services.inbox.storage.existence import Existence
from services.inbox.storage.messages import MessageStore
from services.inbox.storage.names import DirectoryNames
from services.inbox.workflows.changing import Changing
from services.inbox.workflows.timers import Timers
from shared.contracts.envelope import Envelope
from shared.contracts.events import DeliveryEventType, MessageEvent, SendOutcome
from shared.contracts.records import OutRecord
from shared.contracts.topics import CONVERSATION_EVENTS, DELIVERY_EVENTS
from shared.contracts.views import Message
from shared.faults import FaultPoints
from shared.mongo.headlog import HeadLog
from tests.integration.inbox.conversations.office import Office
from tests.integration.inbox.topic_reader import TopicReader

pytestmark = pytest.mark.integration

UNKNOWN, ACCEPTED = DeliveryEventType.SEND_UNKNOWN, DeliveryEventType.SEND_ACCEPTED


def pod(office: Office, seconds: float, faults: FaultPoints | None = None) -> Timers:
    """The timers of a process whose clock is ahead."""
    base = office.base
    log = HeadLog(base.database, CONVERSATIONS, base.publisher, faults=faults, clock=now)
    changing = Changing(
        log,
        DirectoryNames(base.view),
        base.ids,
        lambda: now() + timedelta(seconds=seconds),
        Existence(base.database, base.view),
    )
    return Timers(changing, ConversationStore(base.database), MessageStore(base.database))


async def tell(
    office: Office, chat: str, message: str, kind: DeliveryEventType, attempt: int = 1
) -> None:
    """Delivery tells of an attempt, on its topic; inbox has applied it on return."""
    wamid = f"wamid.{message}" if kind is ACCEPTED else None
    told = SendOutcome(
        message_id=message,
        conversation_id=chat,
        number_id=office.number,
        attempt=attempt,
        at=now(),
        wamid=wamid,
    )
    envelope = Envelope(
        f"{message}:{attempt}:{kind.value}", kind.value, "delivery", iso(now()), office.tenant.id
    )
    value = told.model_dump_json().encode()
    record = OutRecord(DELIVERY_EVENTS, chat.encode(), value, envelope.headers())
    await office.base.publisher.publish([record])
    wanted = kind.value.removeprefix("send.")
    async with asyncio.timeout(10):
        while (await shown(office, chat))["status"] != wanted:  # noqa: ASYNC110 - a poll
            await asyncio.sleep(0.02)


async def shown(office: Office, chat: str) -> dict[str, Any]:
    """The newest message as REST shows it."""
    thread = await office.ana("GET", f"/conversations/{chat}/messages?limit=1")
    return dict(thread.body["items"][0])


async def in_doubt(office: Office) -> tuple[str, str]:
    chat = await office.opened_by(office.ana)
    message = (await office.ana.send(chat)).body["id"]
    await tell(office, chat, message, UNKNOWN)
    return chat, message


async def statuses(office: Office, chat: str) -> list[tuple[str | None, bool]]:
    """What `message.status` said up to now: each status, and whether it was a question.

    An event may come again (another process carried its outbox entry): it is the same one.
    """
    version = (await office.sue.get(chat))["version"]
    async with TopicReader(office.tenant.inbox.settings, CONVERSATION_EVENTS) as reader:
        await reader.until(lambda it: version in it.versions(chat))
    said: dict[bytes, Message] = {}
    for key, value, headers in reader.records:
        if key == chat and value and headers["ce_type"] == b"atrio.message.status.v1":
            said[headers["ce_id"]] = MessageEvent.model_validate(json.loads(value)).message
    return [(each.status, each.asked_at is not None) for each in said.values()]


async def test_agent_is_told_at_once_and_asked_after_sixty_seconds(shared_office: Office):
    office = shared_office
    chat, message = await in_doubt(office)
    assert (await shown(office, chat))["asked_at"] is None
    told = await office.ana.get(chat)
    await pod(office, 55).settle(chat)
    assert await statuses(office, chat) == [("unknown", False)]

    assert chat in await ConversationStore(office.base.database).due(
        now() + timedelta(seconds=61), 10_000
    )
    await pod(office, 61).settle(chat)
    asked = await shown(office, chat)
    assert (asked["id"], asked["status"], asked["asked_at"] is None) == (message, "unknown", False)
    assert await statuses(office, chat) == [("unknown", False), ("unknown", True)]
    after = await office.ana.get(chat)
    changed = {name for name in after if after[name] != told[name]}
    assert changed == {"version", "updated_at"}
    await pod(office, 3600).settle(chat)
    assert (await office.ana.get(chat))["version"] == after["version"]


async def test_two_pods_ask_once(shared_office: Office):
    office = shared_office
    chat, _ = await in_doubt(office)
    await asyncio.gather(*(pod(office, 61 + ahead).settle(chat) for ahead in range(4)))
    assert await statuses(office, chat) == [("unknown", False), ("unknown", True)]


class DiesError(Exception):
    """The process is gone."""


class DiesAt:
    """A process that does not get past a point."""

    def __init__(self, point: str) -> None:
        self._point = point

    async def reach(self, point: str) -> None:
        if point == self._point:
            raise DiesError


@pytest.mark.parametrize("point", ["loaded", "committed"])
async def test_question_outlives_the_pod_that_asks_it(shared_office: Office, point: str):
    office = shared_office
    chat, _ = await in_doubt(office)
    with pytest.raises(DiesError):
        await pod(office, 61, DiesAt(point)).settle(chat)
    await pod(office, 62).settle(chat)
    assert await statuses(office, chat) == [("unknown", False), ("unknown", True)]


@pytest.mark.parametrize("how", ["late 200", "resend", "discard", "delete"])
async def test_regression_nothing_is_asked_about_what_is_settled_before(
    shared_office: Office, how: str
):
    office = shared_office
    chat, message = await in_doubt(office)
    if how == "late 200":
        await tell(office, chat, message, ACCEPTED)
    elif how == "delete":
        assert (await office.ana("DELETE", f"/conversations/{chat}")).status == 204
    else:
        answer = await office.ana("POST", f"/conversations/{chat}/messages/{message}/{how}")
        assert answer.body["asked_at"] is None
    before = await office.document(chat)
    await pod(office, 120).settle(chat)
    document = await office.document(chat)
    assert document["version"] == before["version"]
    assert "doubts" not in document


@pytest.mark.parametrize("how", ["resend", "discard"])
async def test_question_is_over_once_it_is_answered(shared_office: Office, how: str):
    office = shared_office
    chat, message = await in_doubt(office)
    await pod(office, 61).settle(chat)
    answer = await office.ana("POST", f"/conversations/{chat}/messages/{message}/{how}")
    status = "queued" if how == "resend" else "failed"
    assert (answer.body["status"], answer.body["asked_at"]) == (status, None)
    assert (await shown(office, chat))["asked_at"] is None
    assert (await statuses(office, chat))[2:] == [(status, False)]


async def test_attempt_that_is_unknown_again_is_asked_about_again(shared_office: Office):
    office = shared_office
    chat, message = await in_doubt(office)
    await pod(office, 61).settle(chat)
    again = await office.ana("POST", f"/conversations/{chat}/messages/{message}/resend")
    assert again.status == 202
    await tell(office, chat, message, UNKNOWN, attempt=2)
    assert (await shown(office, chat))["asked_at"] is None
    await pod(office, 61).settle(chat)
    assert await statuses(office, chat) == [
        ("unknown", False),
        ("unknown", True),
        ("queued", False),
        ("unknown", False),
        ("unknown", True),
    ]
