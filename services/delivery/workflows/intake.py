"""Commands are stored before their offsets are committed; sending runs from the store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import orjson
from pydantic import ValidationError

from services.delivery.model import (
    CallKind,
    CallRecord,
    FaultPoint,
    MediaFile,
    Recipient,
    SendRecord,
    SendStatus,
    Wish,
)
from services.delivery.storage import CallRecords, SendRecords
from services.delivery.workflows.clock import Clock
from services.delivery.workflows.owning import Ownership
from shared.contracts.commands import COMMANDS, BlockContact, CommandType, NotifyBot, SendMessage
from shared.contracts.envelope import Envelope, read_envelope
from shared.contracts.errors import EnvelopeError
from shared.contracts.records import InRecord
from shared.faults import FaultPoints
from shared.kafka.failure import BEHIND, Rejected
from shared.observability.metrics import Metrics


class Intake:
    """The handler of whatsapp.outbound.v1: a batch costs one insert per kind of record."""

    def __init__(
        self,
        *,
        sends: SendRecords,
        calls: CallRecords,
        ownership: Ownership,
        clock: Clock,
        faults: FaultPoints,
        metrics: Metrics,
    ) -> None:
        self._sends = sends
        self._calls = calls
        self._ownership = ownership
        self._clock = clock
        self._faults = faults
        self._metrics = metrics

    async def take_in(self, records: Sequence[InRecord]) -> list[Rejected]:
        """Store the commands durably, then offer them to this pod's lanes.

        What cannot be read is rejected, and what follows it in its chat waits behind it.
        Raises TransientError when the store is away: the same batch comes again.
        """
        rejected: list[Rejected] = []
        poisoned: set[bytes] = set()
        sends: dict[str, SendRecord] = {}
        calls: dict[str, CallRecord] = {}
        now = self._clock.now()
        for record in records:
            if record.key in poisoned:
                rejected.append(Rejected(record, BEHIND))
                continue
            try:
                envelope = read_envelope(record.headers)
                if envelope.type == CommandType.MESSAGE_SEND:
                    send = send_record(envelope, record, now)
                    sends.setdefault(send.id, send)
                elif envelope.type in COMMANDS:
                    call = call_record(envelope, record, now)
                    calls.setdefault(call.id, call)
                else:
                    self._metrics.unknown_types.labels(record.topic).inc()
                continue
            except EnvelopeError as bad:
                rejected.append(Rejected(record, bad.reason, stage="decode"))
            except ValidationError:
                rejected.append(Rejected(record, "bad_payload", stage="decode"))
            if record.key is not None:
                poisoned.add(record.key)
        known = await self._sends.insert(list(sends.values()))
        await self._calls.insert(list(calls.values()))
        await self._faults.reach(FaultPoint.INTAKE_STORED)
        self._ownership.stored(
            [send for send in sends.values() if send.id not in known],
            known=[sends[record_id] for record_id in known],
            calls=list(calls.values()),
        )
        return rejected


def send_record(envelope: Envelope, record: InRecord, now: datetime) -> SendRecord:
    """The send record of a `message.send`. Raises ValidationError."""
    command = SendMessage.model_validate_json(record.value or b"")
    base = command.attempt_base
    media = command.media
    to = command.recipient
    return SendRecord(
        id=f"{envelope.tenant}:{command.message_id}:{base}",
        tenant=envelope.tenant,
        number_id=command.number_id,
        conversation_id=command.conversation_id,
        message_id=command.message_id,
        partition=record.partition,
        seq=command.seq,
        base=base,
        status=SendStatus.QUEUED,
        attempt=base,
        recipient=Recipient(to.wa_id, to.user_id, to.group_id),
        type=command.type,
        body=orjson.dumps(command.body),
        queued_at=command.queued_at,
        stored_at=now,
        reply_to=command.reply_to_wamid,
        media=None
        if media is None
        else MediaFile(media.sha256, media.mime_type, media.size, media.filename, media.voice),
    )


def call_record(envelope: Envelope, record: InRecord, now: datetime) -> CallRecord:
    """The record of any other command. Raises ValidationError."""
    value = record.value or b""
    command = COMMANDS[envelope.type].model_validate_json(value)
    number_id: str = command.number_id  # type: ignore[attr-defined]
    return CallRecord(
        id=f"{envelope.tenant}:{envelope.id}",
        tenant=envelope.tenant,
        number_id=number_id,
        key=(record.key or b"").decode(errors="replace"),
        partition=record.partition,
        kind=CallKind(envelope.type),
        payload=value,
        stored_at=now,
        seq=command.version if isinstance(command, NotifyBot) else 0,
        wish=_wish(command, now),
    )


def _wish(command: object, now: datetime) -> Wish | None:
    """That of a block or an unblock which says of which version of the contact it is."""
    if not isinstance(command, BlockContact) or command.contact_version == 0:
        return None
    return Wish(command.contact_id, command.contact_version, command.blocked, now)
