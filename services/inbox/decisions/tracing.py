"""What records of topics say of one item. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from services.inbox.model.conversation import Message
from services.inbox.model.ledger import Passed
from services.inbox.model.tally import came_at
from shared.contracts.envelope import parse_timestamp
from shared.contracts.records import InRecord


@dataclass(frozen=True, slots=True)
class Brought:
    """The times in a record: WhatsApp's, that of its envelope, and Kafka's."""

    sent_at: datetime | None = None
    received_at: datetime | None = None
    produced_at: datetime | None = None


def brought(record: InRecord) -> Brought:
    """Tolerant: what cannot be read is not told."""
    told = dict(record.headers).get("ce_time", b"").decode(errors="replace")
    try:
        received_at = parse_timestamp(told)
    except ValueError:
        received_at = None
    return Brought(_sent_at(_read(record.value)), received_at, came_at(record))


def _read(value: bytes | None) -> Any:
    try:
        return orjson.loads(value or b"null")
    except ValueError:
        return None


def _sent_at(value: Any) -> datetime | None:
    item = value.get("item") if isinstance(value, dict) else None
    seconds = str(item.get("timestamp")) if isinstance(item, dict) else ""
    if not (seconds.isascii() and seconds.isdigit() and len(seconds) <= 11):
        return None
    return datetime.fromtimestamp(int(seconds), UTC)


def event_of(record: InRecord, message_id: str) -> str | None:
    """The id of the event, if it is the one that a message came with."""
    if message_id.encode() not in (record.value or b""):
        return None
    value = _read(record.value)
    message = value.get("message") if isinstance(value, dict) else None
    if not isinstance(message, dict) or message.get("id") != message_id:
        return None
    return dict(record.headers).get("ce_id", b"").decode(errors="replace")


def body_has(record: InRecord, wamid: str) -> bool:
    """Whether a body that is kept because of its key's number has the item, for that number."""
    if wamid.encode() not in (record.value or b"") or record.key is None:
        return False
    phone = record.key.decode(errors="replace")
    body = _read(record.value)
    return any(
        isinstance(item, dict) and item.get("id") == wamid
        for value in _values(body)
        if _phone_of(value) == phone
        for members in value.values()
        if isinstance(members, list)
        for item in members
    )


def _values(body: Any) -> list[dict[str, Any]]:
    entries = body.get("entry") if isinstance(body, dict) else None
    found = []
    for entry in entries if isinstance(entries, list) else ():
        changes = entry.get("changes") if isinstance(entry, dict) else None
        for change in changes if isinstance(changes, list) else ():
            value = change.get("value") if isinstance(change, dict) else None
            if isinstance(value, dict):
                found.append(value)
    return found


def _phone_of(value: dict[str, Any]) -> str | None:
    metadata = value.get("metadata")
    found = metadata.get("phone_number_id") if isinstance(metadata, dict) else None
    return None if found is None else str(found)


def told_by_whatsapp(message: Message) -> list[Passed]:
    """What its webhooks said of a message of ours, with their times; of each time it was sent."""
    told = [*(message.earlier or {}).values(), message.facts or {}]
    return [Passed(name, at) for facts in told for name, at in facts.items()]
