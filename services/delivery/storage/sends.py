"""The send records. Each move of the state machine is one compare-and-set, many in one call."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection as Some
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from pymongo import IndexModel, UpdateMany, UpdateOne
from pymongo.errors import BulkWriteError

from services.delivery.decisions.states import sources, target
from services.delivery.model import (
    OPEN,
    Claim,
    ErrorNote,
    Finished,
    MediaFile,
    Recipient,
    SendRecord,
    SendStatus,
    Settlement,
    Trigger,
)
from shared.mongo.client import (
    DUPLICATE_KEY,
    Database,
    Document,
    transient_errors,
    unacknowledged_by_majority,
)

KEPT = timedelta(days=30)
_PAGE = 1000


class SendRecords:
    """Every write is journaled by the majority, except clearing an event's flag.

    All methods raise TransientError when the server is away or an outcome is not certain.
    """

    def __init__(self, database: Database) -> None:
        self._sends = database["sends"]
        self._lazy = unacknowledged_by_majority(self._sends)

    async def create_indexes(self) -> None:
        with transient_errors():
            await self._sends.create_indexes(
                [
                    IndexModel(
                        [("partition", 1), ("_id", 1)],
                        name="open",
                        partialFilterExpression={"open": True},
                    ),
                    IndexModel(
                        [("partition", 1), ("at", 1)],
                        name="events",
                        partialFilterExpression={"event": True},
                    ),
                    IndexModel([("tenant", 1), ("message_id", 1)], name="message"),
                    IndexModel("expires_at", name="expiry", expireAfterSeconds=0),
                ]
            )

    async def insert(self, records: Sequence[SendRecord]) -> set[str]:
        """Store new records; returns the ids of those that were there already."""
        if not records:
            return set()
        with transient_errors():
            try:
                await self._sends.insert_many([_document(r) for r in records], ordered=False)
            except BulkWriteError as bulk:
                details = bulk.details or {}
                errors = details.get("writeErrors", ())
                known = {e["op"]["_id"] for e in errors if e["code"] == DUPLICATE_KEY}
                if len(known) != len(errors) or details.get("writeConcernErrors"):
                    raise
                return known
        return set()

    async def open_records(self, partitions: Some[int]) -> list[SendRecord]:
        """All open records of these partitions."""
        found: list[SendRecord] = []
        with transient_errors():
            cursor = self._sends.find(
                {"open": True, "partition": {"$in": sorted(partitions)}}, batch_size=_PAGE
            )
            async for document in cursor:
                found.append(_record(document))  # noqa: PERF401 - the cursor is asynchronous
        return found

    async def read(self, ids: Sequence[str]) -> dict[str, SendRecord]:
        """The records as the majority has them; open or not."""
        with transient_errors():
            documents = await self._sends.find({"_id": {"$in": list(ids)}}).to_list(None)
        return {d["_id"]: _record(d) for d in documents}

    async def claim(self, claims: Sequence[Claim]) -> set[str]:
        """Start these attempts; returns the ids that were won. Only their callers may POST.

        The time of the claim is the server's: leases are judged by one clock. Claims with the
        same attempt and token are one statement: MongoDB's price is that of the statement.
        """
        groups: defaultdict[tuple[str, int, str], list[str]] = defaultdict(list)
        for c in claims:
            groups[c.tenant, c.attempt, c.token].append(c.id)
        writes = [
            UpdateMany(
                {
                    "_id": {"$in": ids},
                    "tenant": tenant,
                    "attempt": attempt - 1,
                    "status": {"$in": _values(sources(Trigger.CLAIM))},
                },
                {
                    "$set": {
                        "status": target(Trigger.CLAIM).value,
                        "attempt": attempt,
                        "token": token,
                    },
                    "$currentDate": {"claimed_at": True},
                },
            )
            for (tenant, attempt, token), ids in groups.items()
        ]
        with transient_errors():
            result = await self._sends.bulk_write(writes, ordered=False)
            if result.modified_count == len(claims):
                return {c.id for c in claims}
            mine = await self._sends.find(
                {"_id": {"$in": [c.id for c in claims]}}, {"token": 1, "status": 1}
            ).to_list(None)
        held = {d["_id"]: d.get("token") for d in mine if d["status"] == SendStatus.STARTED}
        return {c.id for c in claims if held.get(c.id) == c.token}

    async def settle(self, settlements: Sequence[Settlement]) -> set[str]:
        """Write outcomes; returns the ids whose record now has this outcome of this claim."""
        with transient_errors():
            result = await self._sends.bulk_write([_write(s) for s in settlements], ordered=False)
            if result.modified_count == len(settlements):
                return {s.claim.id for s in settlements}
            now = await self._sends.find(
                {"_id": {"$in": [s.claim.id for s in settlements]}},
                {"token": 1, "attempt": 1, "status": 1},
            ).to_list(None)
        states = {d["_id"]: (d["status"], d["attempt"], d.get("token")) for d in now}
        return {
            s.claim.id
            for s in settlements
            if states.get(s.claim.id) == (target(s.trigger).value, s.claim.attempt, s.claim.token)
        }

    async def expire(self, records: Sequence[SendRecord], lease: timedelta, at: datetime) -> None:
        """Set `unknown` where the claim seen in `records` is still held and its lease is over."""
        milliseconds = int(lease.total_seconds() * 1000)
        over = {"$lt": ["$claimed_at", {"$subtract": ["$$NOW", milliseconds]}]}
        writes = [
            UpdateOne(
                {
                    "_id": r.id,
                    "tenant": r.tenant,
                    "status": {"$in": _values(sources(Trigger.LEASE_OVER))},
                    "attempt": r.attempt,
                    "token": r.token,
                    "$expr": over,
                },
                _final(
                    target(Trigger.LEASE_OVER),
                    at,
                    {"error": {"code": "unknown", "title": "lease_over", "detail": None}},
                ),
            )
            for r in records
        ]
        with transient_errors():
            await self._sends.bulk_write(writes, ordered=False)

    async def finished(self, ids: Sequence[str]) -> list[Finished]:
        """Those of these records that ended and whose event is not known to be produced."""
        with transient_errors():
            found = await self._sends.find({"_id": {"$in": list(ids)}, "event": True}).to_list(None)
        return [_finished(d) for d in found]

    async def unproduced(
        self, partitions: Some[int], before: datetime, limit: int
    ) -> list[Finished]:
        """Records that ended before this time and whose event is not known to be produced."""
        query = {"event": True, "partition": {"$in": sorted(partitions)}, "at": {"$lt": before}}
        with transient_errors():
            found = await self._sends.find(query).sort("at", 1).limit(limit).to_list(None)
        return [_finished(d) for d in found]

    async def clear_events(self, produced: Sequence[Finished]) -> None:
        """Note that these events are produced. A loss of this write only repeats an event."""
        groups: defaultdict[tuple[str, str, int], list[str]] = defaultdict(list)
        for f in produced:
            groups[f.tenant, f.status.value, f.attempt].append(f.id)
        writes = [
            UpdateMany(
                {"_id": {"$in": ids}, "tenant": tenant, "status": status, "attempt": attempt},
                {"$unset": {"event": True}},
            )
            for (tenant, status, attempt), ids in groups.items()
        ]
        with transient_errors():
            await self._lazy.bulk_write(writes, ordered=False)


def _values(statuses: tuple[SendStatus, ...]) -> list[str]:
    return [status.value for status in statuses]


def _final(status: SendStatus, at: datetime, members: Document) -> Document:
    # What was written is not needed any more: a resend comes as a new command.
    return {
        "$set": {
            "status": status.value,
            "event": True,
            "at": at,
            "expires_at": at + KEPT,
            **members,
        },
        "$unset": {"open": True, "body": True, "due_at": True},
    }


def _write(s: Settlement) -> UpdateOne:
    match = {
        "_id": s.claim.id,
        "tenant": s.claim.tenant,
        "status": {"$in": _values(sources(s.trigger))},
        "attempt": s.claim.attempt,
        "token": s.claim.token,
    }
    status = target(s.trigger)
    if status is SendStatus.RETRY:
        members = {"status": status.value, "retries": s.retries, "due_at": s.due_at}
        return UpdateOne(match, {"$set": members})
    outcome = {
        "wamid": s.wamid,
        "wa_id": s.wa_id,
        "user_id": s.user_id,
        "error": None if s.error is None else _error_document(s.error),
    }
    return UpdateOne(match, _final(status, s.at, outcome))


def _document(r: SendRecord) -> Document:
    media = r.media
    document: dict[str, Any] = {
        "_id": r.id,
        "tenant": r.tenant,
        "number": r.number_id,
        "conversation": r.conversation_id,
        "message_id": r.message_id,
        "partition": r.partition,
        "seq": r.seq,
        "base": r.base,
        "status": r.status.value,
        "attempt": r.attempt,
        "to": [r.recipient.wa_id, r.recipient.user_id, r.recipient.group_id],
        "type": r.type,
        "body": r.body,
        "queued_at": r.queued_at,
        "stored_at": r.stored_at,
        "open": True,
    }
    if r.reply_to is not None:
        document["reply_to"] = r.reply_to
    if media is not None:
        document["media"] = [media.sha256, media.mime_type, media.size, media.filename, media.voice]
    return document


def _record(d: Document) -> SendRecord:
    media = d.get("media")
    status = SendStatus(d["status"])
    return SendRecord(
        id=d["_id"],
        tenant=d["tenant"],
        number_id=d["number"],
        conversation_id=d["conversation"],
        message_id=d["message_id"],
        partition=d["partition"],
        seq=d["seq"],
        base=d["base"],
        status=status,
        attempt=d["attempt"],
        recipient=Recipient(*d["to"]),
        type=d["type"],
        body=d["body"] if status in OPEN else b"",
        queued_at=d["queued_at"],
        stored_at=d["stored_at"],
        reply_to=d.get("reply_to"),
        media=None if media is None else MediaFile(*media),
        token=d.get("token"),
        retries=d.get("retries", 0),
        due_at=d.get("due_at"),
    )


def _error_document(error: ErrorNote) -> Document:
    return {"code": error.code, "title": error.title, "detail": error.detail}


def _finished(d: Document) -> Finished:
    error = d.get("error")
    return Finished(
        id=d["_id"],
        tenant=d["tenant"],
        number_id=d["number"],
        conversation_id=d["conversation"],
        message_id=d["message_id"],
        attempt=d["attempt"],
        status=SendStatus(d["status"]),
        at=d["at"],
        wamid=d.get("wamid"),
        wa_id=d.get("wa_id"),
        user_id=d.get("user_id"),
        error=None if error is None else ErrorNote(**error),
    )
