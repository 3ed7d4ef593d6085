"""What an agent has written in a chat and not sent: theirs alone, no event, gone after 30 days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.mongo.client import Database, transient_errors

DRAFTS = "drafts"
KEPT = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class StoredDraft:
    text: str
    reply_to: str | None
    updated_at: datetime


class DraftStore:
    """One document for an agent in a chat; the last write wins."""

    def __init__(self, database: Database) -> None:
        self._collection = database[DRAFTS]

    async def ensure_indexes(self) -> None:
        with transient_errors():
            await self._collection.create_index(
                "updated_at", name="kept", expireAfterSeconds=int(KEPT.total_seconds())
            )
            await self._collection.create_index([("tenant", 1)], name="tenant")

    async def find(self, tenant: str, conversation: str, agent: str) -> StoredDraft | None:
        with transient_errors():
            doc = await self._collection.find_one(
                {"_id": _key(conversation, agent), "tenant": tenant}
            )
        return None if doc is None else StoredDraft(doc["text"], doc["reply_to"], doc["updated_at"])

    async def put(self, tenant: str, conversation: str, agent: str, draft: StoredDraft) -> None:
        document = {
            "tenant": tenant,
            "text": draft.text,
            "reply_to": draft.reply_to,
            "updated_at": draft.updated_at,
        }
        with transient_errors():
            await self._collection.replace_one(
                {"_id": _key(conversation, agent)}, document, upsert=True
            )

    async def delete(self, tenant: str, conversation: str, agent: str) -> None:
        with transient_errors():
            await self._collection.delete_one({"_id": _key(conversation, agent), "tenant": tenant})

    async def forget(self, tenant: str, conversation: str) -> None:
        """Everybody's in a conversation that is deleted."""
        of_it = {"$gt": _key(conversation, ""), "$lt": f"{conversation};"}
        with transient_errors():
            await self._collection.delete_many({"_id": of_it, "tenant": tenant})


def _key(conversation: str, agent: str) -> str:
    return f"{conversation}:{agent}"
