"""Commands that are not sends: kept until done, then with their event until it is produced."""

from __future__ import annotations

from collections.abc import Collection as Some
from collections.abc import Sequence
from datetime import datetime, timedelta

from pymongo import IndexModel
from pymongo.errors import BulkWriteError

from services.delivery.model import CallKind, CallRecord, EventNote, Wish
from shared.mongo.client import DUPLICATE_KEY, Database, Document, transient_errors

KEPT = timedelta(days=3)


class CallRecords:
    """All methods raise TransientError when the server is away."""

    def __init__(self, database: Database) -> None:
        self._calls = database["calls"]

    async def create_indexes(self) -> None:
        with transient_errors():
            await self._calls.create_indexes(
                [
                    IndexModel(
                        [("partition", 1), ("_id", 1)],
                        name="open",
                        partialFilterExpression={"open": True},
                    ),
                    IndexModel(
                        [
                            ("tenant", 1),
                            ("number", 1),
                            ("wish.contact", 1),
                            ("wish.version", -1),
                        ],
                        name="wishes",
                        partialFilterExpression={"wish.contact": {"$exists": True}},
                    ),
                    IndexModel("expires_at", name="expiry", expireAfterSeconds=0),
                ]
            )

    async def insert(self, records: Sequence[CallRecord]) -> None:
        """Store new records; those that are there already stay as they are."""
        if not records:
            return
        with transient_errors():
            try:
                await self._calls.insert_many([_document(r) for r in records], ordered=False)
            except BulkWriteError as bulk:
                errors = (bulk.details or {}).get("writeErrors", ())
                if any(e["code"] != DUPLICATE_KEY for e in errors) or not errors:
                    raise

    async def open_records(
        self, partitions: Some[int]
    ) -> list[tuple[CallRecord, EventNote | None]]:
        """Records not done, or done with an event that is not known to be produced."""
        with transient_errors():
            found = await self._calls.find(
                {"open": True, "partition": {"$in": sorted(partitions)}}
            ).to_list(None)
        return [(_record(d), _event(d)) for d in found]

    async def read(self, ids: Sequence[str]) -> list[tuple[CallRecord, EventNote | None]]:
        """Those of these that are open, like `open_records`."""
        with transient_errors():
            found = await self._calls.find({"_id": {"$in": list(ids)}, "open": True}).to_list(None)
        return [(_record(d), _event(d)) for d in found]

    async def later(self, record: CallRecord, retries: int, due_at: datetime) -> None:
        with transient_errors():
            await self._calls.update_one(
                {"_id": record.id, "tenant": record.tenant, "open": True},
                {"$set": {"retries": retries, "due_at": due_at}},
            )

    async def newest_wish(self, tenant: str, number_id: str, contact_id: str) -> Wish | None:
        """That of the newest command of a contact and number, whether it is open or done."""
        query = {"tenant": tenant, "number": number_id, "wish.contact": contact_id}
        with transient_errors():
            found = await self._calls.find_one(query, {"wish": True}, sort=[("wish.version", -1)])
        return None if found is None else _wish(found)

    async def begin(self, record: CallRecord, wish: Wish) -> bool:
        """From now on Meta may have been asked for this wish, or for an older one, by the record.

        Another wish than the record's own has all its retries. False: the record is done.
        """
        members = {"begun": True, "wish": _wish_document(wish)}
        if wish != record.wish:
            members["retries"] = 0
        with transient_errors():
            result = await self._calls.update_one(
                {"_id": record.id, "tenant": record.tenant, "open": True}, {"$set": members}
            )
        return result.matched_count == 1

    async def answered(self, record: CallRecord, event: EventNote) -> EventNote:
        """Keep the event of a call's end; the first one written is the one that counts."""
        document = [event.id, event.type, event.tenant, event.key, event.at, event.value]
        with transient_errors():
            await self._calls.update_one(
                {"_id": record.id, "tenant": record.tenant, "event": None},
                {"$set": {"event": document}},
            )
            kept = await self._calls.find_one({"_id": record.id, "tenant": record.tenant})
        return (None if kept is None else _event(kept)) or event

    async def done(self, record: CallRecord, at: datetime) -> None:
        """Nothing is left to do for this record."""
        with transient_errors():
            await self._calls.update_one(
                {"_id": record.id, "tenant": record.tenant},
                {
                    "$set": {"expires_at": at + KEPT},
                    "$unset": {"open": True, "payload": True, "event": True},
                },
            )


def _document(r: CallRecord) -> Document:
    document: Document = {
        "_id": r.id,
        "tenant": r.tenant,
        "number": r.number_id,
        "key": r.key,
        "partition": r.partition,
        "kind": r.kind.value,
        "payload": r.payload,
        "seq": r.seq,
        "stored_at": r.stored_at,
        "event": None,
        "open": True,
    }
    if r.wish is not None:
        document["wish"] = _wish_document(r.wish)
    return document


def _wish_document(wish: Wish) -> Document:
    return {
        "contact": wish.contact_id,
        "version": wish.version,
        "blocked": wish.blocked,
        "at": wish.at,
    }


def _wish(d: Document) -> Wish | None:
    wish = d.get("wish")
    if wish is None:
        return None
    return Wish(wish["contact"], wish["version"], wish["blocked"], wish["at"])


def _record(d: Document) -> CallRecord:
    return CallRecord(
        id=d["_id"],
        tenant=d["tenant"],
        number_id=d["number"],
        key=d["key"],
        partition=d["partition"],
        kind=CallKind(d["kind"]),
        payload=d["payload"],
        stored_at=d["stored_at"],
        retries=d.get("retries", 0),
        due_at=d.get("due_at"),
        seq=d.get("seq", 0),
        wish=_wish(d),
        begun=d.get("begun", False),
    )


def _event(d: Document) -> EventNote | None:
    event = d.get("event")
    return None if event is None else EventNote(*event)
