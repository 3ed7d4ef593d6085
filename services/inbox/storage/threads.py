"""Messages and activities of one conversation, with what its outbox still holds laid over.

The conversation is loaded before these reads: what is in no outbox by then is in the documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from services.inbox.model.conversation import Message
from services.inbox.model.episode import Episode
from services.inbox.model.events import ActorRef, Line
from services.inbox.storage.documents import message_of
from services.inbox.storage.entries import ACTIVITIES, MESSAGES
from services.inbox.storage.episode_documents import EPISODES, episode_of
from shared.contracts.views import ActorKind
from shared.mongo.client import Collection, Database, Document, transient_errors
from shared.mongo.headlog import Entry, Insert, Put


@dataclass(frozen=True, slots=True)
class Range:
    """Where a page of messages lies, by `seq`; at most one of them, none: the newest."""

    before: int | None = None
    after: int | None = None
    around: int | None = None


@dataclass(frozen=True, slots=True)
class _Thread:
    """The documents of one conversation in one collection, ordered by `key`."""

    collection: Collection
    tenant: str
    conversation: str
    key: str
    laid_over: dict[str, Document]

    async def read(self, bounds: Document, *, rising: bool, limit: int) -> list[Document]:
        """The first documents within the bounds, outbox included."""
        if limit < 1:  # to MongoDB, 0 is no limit
            return []
        query = {"tenant": self.tenant, "conversation": self.conversation}
        direction = 1 if rising else -1
        with transient_errors():
            stored = await (
                self.collection.find({**query, self.key: bounds} if bounds else query)
                .sort(self.key, direction)
                .limit(limit)
                .to_list(None)
            )
        found = {doc["_id"]: doc for doc in stored}
        for doc_id, doc in self.laid_over.items():
            held = found.get(doc_id)
            if held["v"] < doc["v"] if held is not None else _within(doc[self.key], bounds):
                found[doc_id] = doc
        ordered = sorted(found.values(), key=lambda doc: doc[self.key], reverse=not rising)
        return ordered[:limit]

    async def page(self, before: int | None, limit: int) -> tuple[list[Document], int | None]:
        """The newest below `before`, and the key that older ones are before (None: no more)."""
        bounds: Document = {} if before is None else {"$lt": before}
        docs = await self.read(bounds, rising=False, limit=limit + 1)
        items = docs[:limit]
        return items, items[-1][self.key] if items and len(docs) > limit else None


def _within(value: int, bounds: Document) -> bool:
    checks: dict[str, Callable[[int, int], bool]] = {
        "$lt": lambda a, b: a < b,
        "$lte": lambda a, b: a <= b,
        "$gt": lambda a, b: a > b,
    }
    return all(checks[name](value, limit) for name, limit in bounds.items())


def _laid_over(unpublished: Iterable[Entry], collection: str) -> dict[str, Document]:
    """The last state of each document that the outbox holds."""
    return {
        write.document["_id"]: write.document
        for entry in unpublished
        for write in entry.documents
        if isinstance(write, Insert | Put) and write.collection == collection
    }


class ThreadStore:
    """Reads; writes go through outbox entries alone."""

    def __init__(self, database: Database) -> None:
        self._messages = database[MESSAGES]
        self._activities = database[ACTIVITIES]
        self._episodes = database[EPISODES]

    async def ensure_indexes(self) -> None:
        """The indexes of messages and activities are with the store that writes by them."""
        with transient_errors():
            await self._episodes.create_index(
                [("tenant", 1), ("conversation", 1), ("episode", -1)], name="of_conversation"
            )
            # Reports: all that ended in a span of time.
            await self._episodes.create_index([("tenant", 1), ("closed_at", 1)], name="by_end")

    async def messages(
        self,
        tenant: str,
        conversation: str,
        unpublished: Iterable[Entry],
        where: Range,
        limit: int,
    ) -> tuple[list[Message], int | None]:
        """A page, newest first, and the seq that older ones are before (None: there are none)."""
        laid_over = _laid_over(unpublished, MESSAGES)
        thread = _Thread(self._messages, tenant, conversation, "seq", laid_over)
        newer: list[Document] = []
        bounds: Document = {} if where.before is None else {"$lt": where.before}
        if where.after is not None:
            newer = await thread.read({"$gt": where.after}, rising=True, limit=limit)
            bounds, limit = {"$lte": where.after}, 0
        elif where.around is not None:
            newer = await thread.read({"$gt": where.around}, rising=True, limit=limit // 2)
            bounds, limit = {"$lte": where.around}, limit - len(newer)
        docs = await thread.read(bounds, rising=False, limit=limit + 1)
        items = [*reversed(newer), *docs[:limit]]
        older = items[-1]["seq"] if items and len(docs) > limit else None
        return [message_of(doc) for doc in items], older

    async def activities(
        self,
        tenant: str,
        conversation: str,
        unpublished: Iterable[Entry],
        before: int | None,
        limit: int,
    ) -> tuple[list[Line], int | None]:
        """A page, newest first, and the version that older ones are before."""
        laid_over = _laid_over(unpublished, ACTIVITIES)
        thread = _Thread(self._activities, tenant, conversation, "v", laid_over)
        docs, older = await thread.page(before, limit)
        return [activity_of(doc) for doc in docs], older

    async def activity(
        self, tenant: str, activity_id: str, unpublished: Iterable[Entry]
    ) -> Line | None:
        """One line of the internal log."""
        laid_over = _laid_over(unpublished, ACTIVITIES)
        doc = laid_over.get(activity_id)
        if doc is None:
            with transient_errors():
                doc = await self._activities.find_one({"_id": activity_id, "tenant": tenant})
        return None if doc is None else activity_of(doc)

    async def episodes(
        self,
        tenant: str,
        conversation: str,
        unpublished: Iterable[Entry],
        before: int | None,
        limit: int,
    ) -> tuple[list[Episode], int | None]:
        """A page of those that ended, newest first, and the episode that older ones are before."""
        laid_over = _laid_over(unpublished, EPISODES)
        thread = _Thread(self._episodes, tenant, conversation, "episode", laid_over)
        docs, older = await thread.page(before, limit)
        return [episode_of(doc) for doc in docs], older


def activity_of(doc: Document) -> Line:
    """The line of a document."""
    kind, actor = doc["actor"]
    return Line(
        id=doc["_id"],
        version=doc["v"],
        type=doc["type"],
        at=doc["at"],
        actor=ActorRef(ActorKind(kind), actor),
        data=doc["data"],
    )
