"""What is still to be erased from the blob store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.inbox.storage.entries import ERASURES
from shared.mongo.client import Database, transient_errors


@dataclass(frozen=True, slots=True)
class Erasure:
    """The files of a deleted conversation, or of an erased tenant (`conversation` None)."""

    id: str
    tenant: str
    conversation: str | None
    round: int
    at: datetime


class ErasureStore:
    """Notes are inserted by the deletions themselves (`entries`, `conversations`)."""

    def __init__(self, database: Database) -> None:
        self._erasures = database[ERASURES]

    async def ensure_indexes(self) -> None:
        with transient_errors():
            await self._erasures.create_index("due_at", name="due")

    async def due(self, now: datetime, limit: int) -> Sequence[Erasure]:
        """The oldest that are due."""
        with transient_errors():
            docs = await (
                self._erasures.find({"due_at": {"$lte": now}})
                .sort("due_at", 1)
                .limit(limit)
                .to_list(None)
            )
        return [
            Erasure(doc["_id"], doc["tenant"], doc["conversation"], doc["round"], doc["at"])
            for doc in docs
        ]

    async def again(self, erasure: Erasure, due_at: datetime) -> None:
        """The round is done; the next one is due then."""
        with transient_errors():
            await self._erasures.update_one(
                {"_id": erasure.id, "round": erasure.round},
                {"$set": {"due_at": due_at}, "$inc": {"round": 1}},
            )

    async def done(self, erasure: Erasure) -> None:
        with transient_errors():
            await self._erasures.delete_one({"_id": erasure.id})
