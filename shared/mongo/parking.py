"""Parked keys in MongoDB: a poison record and everything of its key behind it, in order."""

from __future__ import annotations

from collections.abc import Collection as Keys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pymongo.errors import BulkWriteError

from shared.contracts.records import InRecord
from shared.ids import new_id
from shared.kafka.parking import Released, ReleaseRequest
from shared.mongo.client import DUPLICATE_KEY, Database, Document, transient_errors


@dataclass(frozen=True, slots=True)
class ParkedKey:
    """A key and what it has set aside. `reason` is that of its oldest record."""

    lot: str
    key: bytes
    records: int
    reason: str
    since: datetime


class MongoParking:
    """`shared.kafka.parking.ParkingLot` on one collection of the service's database.

    What operators ask for and do is kept beside it, in `<collection>_replays`, for good.
    """

    def __init__(self, database: Database, collection: str = "parked") -> None:
        self._collection = database[collection]
        self._replays = database[f"{collection}_replays"]

    async def ensure_indexes(self) -> None:
        """The order of a key."""
        with transient_errors():
            await self._collection.create_index(
                [("lot", 1), ("key", 1), ("partition", 1), ("offset", 1)], name="order"
            )
            await self._replays.create_index(
                [("lot", 1), ("at", 1)],
                name="asked",
                partialFilterExpression={"state": "asked"},
            )

    async def parked(self, lot: str, keys: Keys[bytes]) -> set[bytes]:
        """Which of the keys are parked."""
        with transient_errors():
            found = await self._collection.distinct("key", {"lot": lot, "key": {"$in": list(keys)}})
        return set(found)

    async def park(self, lot: str, records: Sequence[InRecord], *, reason: str) -> None:
        """Adds records, durably; the same one once."""
        if not records:
            return
        now = datetime.now(UTC)
        with transient_errors():
            try:
                await self._collection.insert_many(
                    [
                        {
                            "_id": _id(lot, record),
                            "lot": lot,
                            "key": record.key or b"",
                            "topic": record.topic,
                            "partition": record.partition,
                            "offset": record.offset,
                            "no_key": record.key is None,
                            "value": record.value,
                            "headers": [[name, value] for name, value in record.headers],
                            "timestamp_ms": record.timestamp_ms,
                            "reason": reason,
                            "parked_at": now,
                        }
                        for record in records
                    ],
                    ordered=False,
                )
            except BulkWriteError as error:
                if any(e["code"] != DUPLICATE_KEY for e in error.details["writeErrors"]):
                    raise

    async def oldest(self, lot: str, key: bytes, limit: int) -> Sequence[InRecord]:
        """The first records of a key, by partition and offset."""
        with transient_errors():
            docs = await (
                self._collection.find({"lot": lot, "key": key})
                .sort([("partition", 1), ("offset", 1)])
                .limit(limit)
                .to_list(None)
            )
        return [_record(doc) for doc in docs]

    async def remove(self, lot: str, records: Sequence[InRecord]) -> None:
        """Forgets records; absent ones are no error."""
        with transient_errors():
            await self._collection.delete_many(
                {"_id": {"$in": [_id(lot, record) for record in records]}}
            )

    async def keys(self, lot: str, limit: int = 1000) -> Sequence[bytes]:
        """Keys that are parked."""
        with transient_errors():
            groups = await self._collection.aggregate(
                [{"$match": {"lot": lot}}, {"$group": {"_id": "$key"}}, {"$limit": limit}]
            ).to_list(None)
        return [group["_id"] for group in groups]

    async def ask(self, lot: str, key: bytes, *, by: str) -> str:
        """Asks for a key's release."""
        request = new_id()
        with transient_errors():
            await self._replays.insert_one(_account(request, "release", lot, key, by, "asked"))
        return request

    async def asked(self, lot: str) -> Sequence[ReleaseRequest]:
        """The requests without an answer, oldest first."""
        with transient_errors():
            docs = await (
                self._replays.find({"lot": lot, "state": "asked"}).sort("at", 1).to_list(None)
            )
        return [ReleaseRequest(doc["_id"], doc["lot"], doc["key"], doc["by"]) for doc in docs]

    async def answer(self, request: ReleaseRequest, released: Released) -> None:
        """Notes what a release did."""
        with transient_errors():
            await self._replays.update_one(
                {"_id": request.id, "state": "asked"},
                {
                    "$set": {
                        "state": "done" if released.stopped is None else "stopped",
                        "replayed": released.replayed,
                        "stopped": released.stopped,
                        "answered_at": datetime.now(UTC),
                    }
                },
            )

    # -- for operators

    async def answered(self, request_id: str) -> Released | None:
        """What became of a request; None while it waits."""
        with transient_errors():
            doc = await self._replays.find_one({"_id": request_id, "state": {"$ne": "asked"}})
        return None if doc is None else Released(doc["replayed"], doc["stopped"])

    async def summary(self) -> list[ParkedKey]:
        """Every parked key of every lot, the longest parked first."""
        with transient_errors():
            groups = await self._collection.aggregate(
                [
                    {"$sort": {"lot": 1, "key": 1, "partition": 1, "offset": 1}},
                    {
                        "$group": {
                            "_id": {"lot": "$lot", "key": "$key"},
                            "records": {"$sum": 1},
                            "reason": {"$first": "$reason"},
                            "since": {"$min": "$parked_at"},
                        }
                    },
                    {"$sort": {"since": 1}},
                ],
                allowDiskUse=True,
            ).to_list(None)
        return [
            ParkedKey(
                group["_id"]["lot"],
                group["_id"]["key"],
                group["records"],
                group["reason"],
                group["since"],
            )
            for group in groups
        ]

    async def accounted(self, lot: str, places: Sequence[str]) -> set[str]:
        """Those of the places (`topic/partition/offset`) that are parked or were dropped."""
        if not places:
            return set()
        ids = {f"{lot}/{place}": place for place in places}
        with transient_errors():
            held = await self._collection.find({"_id": {"$in": list(ids)}}, {"_id": 1}).to_list(
                None
            )
            dropped: list[str] = await self._replays.distinct(
                "places", {"lot": lot, "action": "drop", "places": {"$in": list(places)}}
            )
        return {ids[doc["_id"]] for doc in held} | set(places).intersection(dropped)

    async def forget(self, tenant: str) -> None:
        """Deletes what is parked of a tenant who is erased."""
        named = ["ce_tenantid", tenant.encode()]
        with transient_errors():
            await self._collection.delete_many({"headers": named})

    async def drop(self, lot: str, key: bytes, records: Sequence[InRecord], *, by: str) -> None:
        """Gives records up, and keeps who did it; the account first."""
        account = _account(new_id(), "drop", lot, key, by, "done")
        account["places"] = [f"{r.topic}/{r.partition}/{r.offset}" for r in records]
        with transient_errors():
            await self._replays.insert_one(account)
        await self.remove(lot, records)


def _account(id_: str, action: str, lot: str, key: bytes, by: str, state: str) -> dict[str, Any]:
    return {
        "_id": id_,
        "action": action,
        "lot": lot,
        "key": key,
        "by": by,
        "at": datetime.now(UTC),
        "state": state,
    }


def _id(lot: str, record: InRecord) -> str:
    return f"{lot}/{record.topic}/{record.partition}/{record.offset}"


def _record(doc: Document) -> InRecord:
    return InRecord(
        topic=doc["topic"],
        partition=doc["partition"],
        offset=doc["offset"],
        key=None if doc["no_key"] else doc["key"],
        value=doc["value"],
        headers=tuple((name, value) for name, value in doc["headers"]),
        timestamp_ms=doc["timestamp_ms"],
    )
