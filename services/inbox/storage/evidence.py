"""What is stored of records of the inbound topic, looked up to compare it with the topic."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from services.inbox.decisions.fold import MessageIndex
from services.inbox.model.tally import Place
from services.inbox.storage.directory import COLLECTION as DIRECTORY
from services.inbox.storage.messages import CHANGES, PENDING, MessageStore
from shared.contracts.directory import EntityKind
from shared.mongo.client import Database, transient_errors
from shared.mongo.parking import MongoParking


class EvidenceStore:
    """Reads only; what there is of some hundred records at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._messages = MessageStore(database)
        self._parking = MongoParking(database)

    async def messages(self, refs: Sequence[str]) -> MessageIndex:
        """Messages by id or wamid key."""
        return MessageIndex(await self._messages.look_up([], refs) if refs else ())

    async def waiting(self, keys: Sequence[str]) -> set[str]:
        """The facts that wait for their message."""
        return await self._ids(PENDING, keys)

    async def recorded(self, ids: Sequence[str]) -> set[str]:
        """The changes that are kept as they came."""
        return await self._ids(CHANGES, ids)

    async def parked(self, lot: str, places: Collection[Place]) -> set[Place]:
        """Those of the places that are parked, or that an operator dropped."""
        ids = {place.id: place for place in places}
        return {ids[each] for each in await self._parking.accounted(lot, list(ids))}

    async def erased_tenants(self) -> set[str]:
        with transient_errors():
            found: list[str] = await self._database[DIRECTORY].distinct(
                "tenant", {"kind": EntityKind.TENANT.value, "deleted": True}
            )
        return set(found)

    async def _ids(self, collection: str, ids: Sequence[str]) -> set[str]:
        if not ids:
            return set()
        with transient_errors():
            docs = await (
                self._database[collection].find({"_id": {"$in": list(ids)}}, {"_id": 1})
            ).to_list(None)
        return {doc["_id"] for doc in docs}
