"""The contacts that a tenant blocked, the last one first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from services.inbox.model.contact import Contact
from services.inbox.storage.contacts import CONTACTS, contact_of
from shared.mongo.client import Database, Document, transient_errors
from shared.mongo.headlog import Head

BLOCKED = "blocked"
Place = tuple[datetime, str]


@dataclass(frozen=True, slots=True)
class BlockedPage:
    """`after` is where the next page begins, None at the end."""

    items: list[Contact]
    after: Place | None


class BlockedStore:
    """Who is not blocked costs the index nothing."""

    def __init__(self, database: Database) -> None:
        self._contacts = database[CONTACTS]

    async def ensure_indexes(self) -> None:
        with transient_errors():
            await self._contacts.create_index(
                [("tenant", 1), ("blocked_at", -1), ("_id", -1)],
                name=BLOCKED,
                partialFilterExpression={"blocked": True},
            )

    async def page(self, tenant: str, *, after: Place | None, limit: int) -> BlockedPage:
        """Whoever turned out to be another contact is shown as that one alone."""
        with transient_errors():
            docs = await (
                self._contacts.find(blocked_query(tenant, after), {"outbox": 0})
                .sort([("blocked_at", -1), ("_id", -1)])
                .hint(BLOCKED)
                .limit(limit + 1)
                .to_list(None)
            )
        items = [contact_of(Head(doc["_id"], doc["version"], doc, ())) for doc in docs[:limit]]
        last = docs[limit - 1] if len(docs) > limit else None
        return BlockedPage(items, None if last is None else (last["blocked_at"], last["_id"]))


def blocked_query(tenant: str, after: Place | None) -> Document:
    """The contacts of a page and of those behind it."""
    query: Document = {"tenant": tenant, "blocked": True, "merged_into": None}
    if after is None:
        return {**query, "blocked_at": {"$type": "date"}}
    at, contact_id = after
    later = [{"blocked_at": {"$lt": at}}, {"_id": {"$lt": contact_id}}]
    return {**query, "blocked_at": {"$lte": at}, "$or": later}
