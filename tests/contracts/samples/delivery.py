"""What delivery tells: outcomes of sends, calls and numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import orjson

from services.delivery.gateways.graph import Credentials
from services.delivery.model import (
    CallKind,
    CallRecord,
    Done,
    ErrorNote,
    Finished,
    GraphError,
    SendStatus,
    Stop,
)
from services.delivery.workflows.accounts import synced_records
from services.delivery.workflows.calling import Calls, Ended
from services.delivery.workflows.clock import Clock
from services.delivery.workflows.notifying import failed_event
from services.delivery.workflows.telling import note_record, number_event, send_event
from shared.contracts.envelope import timestamp
from shared.contracts.records import OutRecord

AT = datetime(2026, 6, 1, 12, 5, 0, 456_000, tzinfo=UTC)
WAMID = "wamid.HBgLMTIwMjU1NTAxMTEVAgARGBI0QzE5AA=="
REFUSED = GraphError(131026, "Message undeliverable", "The recipient cannot be reached")
WHO = Credentials("200000000000001", "token", 1)
FETCHED = {"media_id": "media-1", "mime_type": "image/jpeg", "size": 1024, "sha256": "ab" * 32}


class StoppedClock(Clock):
    def now(self) -> datetime:
        return AT

    def monotonic(self) -> float:
        return 1000.0


class Answers:
    """Graph, and the fetcher, with one answer to everything."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def block(self, *_who: Any, **_members: Any) -> Any:
        return self._answer

    async def fetch(self, *_what: Any) -> Any:
        return self._answer


def sends() -> list[OutRecord]:
    found = []
    for status in (SendStatus.ACCEPTED, SendStatus.FAILED, SendStatus.UNKNOWN):
        accepted = status is SendStatus.ACCEPTED
        failed = status is SendStatus.FAILED
        ended = Finished(
            id="send-1",
            tenant="tenant-1",
            number_id="number-1",
            conversation_id="conversation-1",
            message_id="message-2",
            attempt=1,
            status=status,
            at=AT,
            wamid=WAMID if accepted else None,
            wa_id="12025550111" if accepted else None,
            user_id="US.90000000000000000001" if accepted else None,
            error=ErrorNote(131026, REFUSED.title, REFUSED.detail) if failed else None,
        )
        found.append(send_event(ended))
    return found


async def call(kind: CallKind, payload: dict[str, Any], answer: Any) -> OutRecord:
    """The event of one call, as `Calls` makes it of an answer."""
    nothing = cast("Any", None)
    calls = Calls(
        records=nothing,
        schedule=nothing,
        graph=cast("Any", Answers(answer)),
        numbers=nothing,
        fetcher=cast("Any", Answers(answer)),
        accounts=nothing,
        publisher=nothing,
        clock=StoppedClock(),
        owns=lambda _partition: True,
        jitter=lambda: 0.0,
    )
    record = CallRecord(
        id="conversation-1:7:0",
        tenant="tenant-1",
        number_id="number-1",
        key="conversation-1",
        partition=0,
        kind=kind,
        payload=orjson.dumps(payload),
        stored_at=AT - timedelta(days=30),
    )
    outcome = await calls._carry_out(record, WHO)
    assert isinstance(outcome, Ended)
    assert outcome.event is not None
    return note_record(outcome.event)


TEMPLATE = {
    "id": "500000000000001",
    "name": "order_update",
    "language": "en_US",
    "category": "UTILITY",
    "status": "APPROVED",
    "components": [{"type": "BODY", "text": "Your order {{1}} is on its way."}],
}
FETCH = {
    "message_id": "message-1",
    "conversation_id": "conversation-1",
    "number_id": "number-1",
    "whatsapp_media_id": "300000000000013",
}
BLOCK = {
    "contact_id": "contact-1",
    "number_id": "number-1",
    "recipient": {"wa_id": "12025550111"},
    "blocked": True,
}


def numbers() -> list[OutRecord]:
    error = ErrorNote(190, "Access token has expired", None)
    stop = Stop("tenant-1", "number-1", "token", error, AT, 1)
    return [note_record(number_event(stop, AT, stopped=stopped)) for stopped in (True, False)]


def bot_failed() -> OutRecord:
    notice = {
        "conversation_id": "conversation-1",
        "number_id": "number-1",
        "epoch": 3,
        "version": 7,
        "type": "message.received",
        "at": timestamp(AT),
        "data": {},
    }
    record = CallRecord(
        id="conversation-1:7:0",
        tenant="tenant-1",
        number_id="number-1",
        key="conversation-1",
        partition=0,
        kind=CallKind.BOT,
        payload=orjson.dumps(notice),
        stored_at=AT,
        seq=7,
    )
    return note_record(failed_event(record, "http_404", AT))


async def delivery_records() -> list[OutRecord]:
    return [
        *sends(),
        await call(CallKind.FETCH, FETCH, FETCHED),
        await call(CallKind.FETCH, FETCH, REFUSED),
        await call(CallKind.BLOCK, BLOCK, Done({})),
        await call(CallKind.BLOCK, BLOCK, REFUSED),
        *numbers(),
        *synced_records("tenant-1", "number-1", "100000000000001", [TEMPLATE], AT),
        bot_failed(),
    ]
