"""Outcomes become events: after the outcome is written, until the broker has them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import orjson
import structlog

from services.delivery.model import (
    CallRecord,
    ErrorNote,
    EventNote,
    FaultPoint,
    Finished,
    SendStatus,
    Stop,
)
from services.delivery.storage import SendRecords
from services.delivery.workflows.clock import Batches, Clock
from shared.contracts import topics
from shared.contracts.envelope import Envelope, timestamp
from shared.contracts.errors import TransientError
from shared.contracts.events import DeliveryEventType
from shared.contracts.records import OutRecord
from shared.faults import FaultPoints

log = structlog.get_logger()

SOURCE = "delivery"
_BATCH = 500
_SWEEP_EVERY = 1.0
_SWEEP_AGE = timedelta(seconds=3)
_TYPES = {
    SendStatus.ACCEPTED: DeliveryEventType.SEND_ACCEPTED,
    SendStatus.FAILED: DeliveryEventType.SEND_FAILED,
    SendStatus.UNKNOWN: DeliveryEventType.SEND_UNKNOWN,
}


class RunPublisher(Protocol):
    """What is needed of a publisher; `shared.kafka` has it, tests have one in memory."""

    async def publish_runs(self, runs: Sequence[Sequence[OutRecord]]) -> list[bool]:
        """Send independent runs; tells which are durable."""
        ...


def error_json(error: ErrorNote | None) -> dict[str, Any] | None:
    """`MessageError` of the contracts."""
    if error is None:
        return None
    return {"code": error.code, "title": error.title, "detail": error.detail}


def send_event(ended: Finished) -> OutRecord:
    """The event of an ended send; the same bytes each time it is made."""
    kind = _TYPES[ended.status]
    at = timestamp(ended.at)
    envelope = Envelope(
        id=f"{ended.message_id}:{ended.attempt}:{ended.status.value}",
        type=kind.value,
        source=SOURCE,
        time=at,
        tenant=ended.tenant,
        subject=ended.conversation_id,
    )
    value = orjson.dumps(
        {
            "message_id": ended.message_id,
            "conversation_id": ended.conversation_id,
            "number_id": ended.number_id,
            "attempt": ended.attempt,
            "at": at,
            "wamid": ended.wamid,
            "wa_id": ended.wa_id,
            "user_id": ended.user_id,
            "error": error_json(ended.error),
        }
    )
    return OutRecord(
        topics.DELIVERY_EVENTS, ended.conversation_id.encode(), value, envelope.headers()
    )


def call_event(
    record: CallRecord, kind: DeliveryEventType, value: dict[str, Any], now: datetime
) -> EventNote:
    """The event of a call's end. Times are the store's: milliseconds."""
    at = now.replace(microsecond=now.microsecond // 1000 * 1000)
    return EventNote(
        id=f"{record.id}:{kind.value}",
        type=kind.value,
        tenant=record.tenant,
        key=record.key,
        at=at,
        value=orjson.dumps({**value, "at": timestamp(at)}),
    )


def number_event(stop: Stop, now: datetime, *, stopped: bool) -> EventNote:
    """`number.stopped` of a stop, or `number.resumed` of its end."""
    kind = DeliveryEventType.NUMBER_STOPPED if stopped else DeliveryEventType.NUMBER_RESUMED
    at = stop.at if stopped else now
    value = {
        "number_id": stop.number_id,
        "at": timestamp(at),
        "error": error_json(stop.error) if stopped else None,
        "reason": stop.reason if stopped else None,
        "until": timestamp(stop.until) if stopped and stop.until is not None else None,
    }
    stamp = int(stop.at.timestamp() * 1000)
    return EventNote(
        id=f"{stop.number_id}:{kind.value}:{stamp}",
        type=kind.value,
        tenant=stop.tenant,
        key=stop.number_id,
        at=at,
        value=orjson.dumps(value),
    )


def note_record(note: EventNote) -> OutRecord:
    """A kept event as a record."""
    envelope = Envelope(
        id=note.id, type=note.type, source=SOURCE, time=timestamp(note.at), tenant=note.tenant
    )
    return OutRecord(topics.DELIVERY_EVENTS, note.key.encode(), note.value, envelope.headers())


class Teller:
    """Produces the events of sends and clears their flags; what fails, the sweep repeats."""

    def __init__(
        self,
        *,
        records: SendRecords,
        publisher: RunPublisher,
        owned: Callable[[], frozenset[int]],
        clock: Clock,
        faults: FaultPoints,
    ) -> None:
        self._records = records
        self._publisher = publisher
        self._owned = owned
        self._clock = clock
        self._faults = faults
        self._queue: Batches[Finished] = Batches()
        self._pending: set[tuple[str, SendStatus]] = set()

    @property
    def idle(self) -> bool:
        return not self._pending

    def tell(self, ended: Finished) -> None:
        """Produce this event soon; a second call for the same is ignored while it waits."""
        key = (ended.id, ended.status)
        if key not in self._pending:
            self._pending.add(key)
            self._queue.put(ended)

    async def produce(self) -> None:
        """The loop that produces and clears."""
        while True:
            batch = await self._queue.take(_BATCH)
            await self._faults.reach(FaultPoint.EVENT_BEFORE)
            acked = await self._publisher.publish_runs([[send_event(ended)] for ended in batch])
            await self._faults.reach(FaultPoint.EVENT_AFTER)
            produced = [ended for ended, durable in zip(batch, acked, strict=True) if durable]
            if produced:
                try:
                    await self._records.clear_events(produced)
                except TransientError as error:
                    log.warning("events.not_cleared", error=str(error), events=len(produced))
            if len(produced) < len(batch):
                log.warning("events.not_produced", events=len(batch) - len(produced))
            await self._faults.reach(FaultPoint.EVENT_CLEARED)
            self._pending.difference_update((ended.id, ended.status) for ended in batch)

    async def sweep(self) -> None:
        """The loop that finds events which a crash or an outage left behind."""
        while True:
            try:
                await self.sweep_once(_SWEEP_AGE)
            except TransientError as error:
                log.warning("events.sweep_failed", error=str(error))
            await asyncio.sleep(_SWEEP_EVERY)

    async def sweep_once(self, age: timedelta) -> None:
        """Tell everything of the own partitions that ended longer ago than `age`."""
        owned = self._owned()
        if owned and not self._queue:
            before = self._clock.now() - age
            for ended in await self._records.unproduced(owned, before, _BATCH):
                self.tell(ended)
