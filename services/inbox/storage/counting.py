"""Counts of conversations, by indexes alone."""

from __future__ import annotations

from datetime import datetime

from services.inbox.decisions.listing import SNOOZABLE
from services.inbox.storage.entries import CONVERSATIONS
from shared.mongo.client import Database, Document, transient_errors


class CountStore:
    """How many there are, exactly, at the moment of the read."""

    def __init__(self, database: Database) -> None:
        self._conversations = database[CONVERSATIONS]

    async def count(self, query: Document, index: str) -> int:
        """Those of a query."""
        with transient_errors():
            return int(await self._conversations.count_documents(query, hint=index))

    async def any_asleep(self, tenant: str, now: datetime) -> bool:
        """Whether any is snoozed: mostly none is."""
        query: Document = {
            "tenant": tenant,
            "status": {"$in": [each.value for each in SNOOZABLE]},
            "snoozed_until": {"$gt": now},
        }
        with transient_errors():
            found = await self._conversations.count_documents(query, hint="asleep", limit=1)
        return bool(found)

    async def made(self, tenant: str, span: Document) -> int:
        """Those that were made in a span of time, whatever became of them."""
        return await self.count({"tenant": tenant, "created_at": span}, "created")

    async def deleted(self, tenant: str, span: Document) -> int:
        """Those that were deleted in a span of time: a tombstone changes no more."""
        query = {"tenant": tenant, "deleted": True, "updated_at": span}
        return await self.count(query, "tombstones")


def since(moment: datetime) -> Document:
    return {"$gte": moment}


def before(moment: datetime) -> Document:
    return {"$lt": moment}


def between(start: datetime, end: datetime) -> Document:
    return {"$gte": start, "$lt": end}
