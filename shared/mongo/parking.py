"""Parked keys in MongoDB: a poison record and everything of its key behind it, in order."""

from __future__ import annotations

from collections.abc import Collection as Keys
from collections.abc import Sequence
from datetime import UTC, datetime

from pymongo.errors import BulkWriteError

from shared.contracts.records import InRecord
from shared.mongo.client import DUPLICATE_KEY, Database, Document, transient_errors


class MongoParking:
    """`shared.kafka.parking.ParkingLot` on one collection of the service's database."""

    def __init__(self, database: Database, collection: str = "parked") -> None:
        self._collection = database[collection]

    async def ensure_indexes(self) -> None:
        """The order of a key."""
        with transient_errors():
            await self._collection.create_index(
                [("lot", 1), ("key", 1), ("partition", 1), ("offset", 1)], name="order"
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
