"""Which conversations somebody sees now, among many."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from services.inbox.decisions.lifecycle import Viewer
from services.inbox.decisions.listing import own_queries, sight_query
from services.inbox.model.conversation import Conversation
from services.inbox.storage.documents import conversation_of
from services.inbox.storage.entries import CONVERSATIONS
from shared.mongo.client import Database, transient_errors

FEW = 200
"""As many scans MongoDB merges in order (internalQueryMaxScansToExplode) instead of sorting."""
Place = tuple[datetime, str]
"""A row's place in the order of time."""


class SightStore:
    """Reads of the conversations as they are, by who may see them."""

    def __init__(self, database: Database) -> None:
        self._conversations = database[CONVERSATIONS]

    async def seen(self, viewer: Viewer, ids: Collection[str]) -> set[str]:
        """Those of the conversations that the viewer sees now, with a supervisor's deleted ones."""
        if viewer.supervises:
            return set(ids)
        query = {"_id": {"$in": sorted(ids)}, **sight_query(viewer)}
        with transient_errors():
            docs = await self._conversations.find(query, {"_id": 1}).hint("_id_").to_list(None)
        return {doc["_id"] for doc in docs}

    async def few_seen(self, viewer: Viewer) -> list[str] | None:
        """All conversations that an agent sees; None where they are more than `FEW`."""
        found: list[str] = []
        for index, query in own_queries(viewer):
            with transient_errors():
                docs = await (
                    self._conversations.find(query, {"_id": 1})
                    .hint(index)
                    .limit(FEW + 1 - len(found))
                    .to_list(None)
                )
            found += [doc["_id"] for doc in docs]
            if len(found) > FEW:
                return None
        return found

    async def conversations(self, tenant: str, ids: Collection[str]) -> dict[str, Conversation]:
        """Their present state, by id."""
        query = {"_id": {"$in": sorted(ids)}, "tenant": tenant, "deleted": False}
        with transient_errors():
            docs = await self._conversations.find(query, {"outbox": 0}).to_list(None)
        return {doc["_id"]: conversation_of(doc["_id"], doc["version"], doc) for doc in docs}
