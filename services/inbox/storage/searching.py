"""The words of messages, beside the messages: written behind them, read by search alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from pymongo import ReplaceOne
from pymongo.errors import BulkWriteError

from services.inbox.model.conversation import Conversation, Message
from services.inbox.storage.conversations import LIST_MS, SEARCH
from services.inbox.storage.documents import conversation_of, message_of
from services.inbox.storage.entries import CONVERSATIONS, MESSAGES
from shared.mongo.client import DUPLICATE_KEY, Database, Document, transient_errors


@dataclass(frozen=True, slots=True)
class Findable:
    """A message as search knows it. `edited`: it may be there already with other words."""

    id: str
    tenant: str
    conversation: str
    seq: int
    at: datetime
    words: Sequence[str]
    edited: bool = False


@dataclass(frozen=True, slots=True)
class Hit:
    """A message that has the words; `at` and `id` are its place in the order."""

    id: str
    conversation: str
    at: datetime


class SearchStore:
    """One small document for each message with words."""

    def __init__(self, database: Database) -> None:
        self._search = database[SEARCH]
        self._messages = database[MESSAGES]
        self._conversations = database[CONVERSATIONS]

    async def ensure_indexes(self) -> None:
        with transient_errors():
            await self._search.create_index(
                [("tenant", 1), ("words", 1), ("at", 1), ("_id", 1)], name="words"
            )
            # Of one chat, or of the few that an agent sees; and to forget a deleted one.
            await self._search.create_index(
                [("tenant", 1), ("conversation", 1), ("seq", 1)], name="of_conversation"
            )

    async def put(self, findables: Collection[Findable]) -> None:
        """Keeps them; those that are there already stay as they are, unless edited."""
        new = [_document(each) for each in findables if not each.edited]
        if new:
            try:
                with transient_errors():
                    await self._search.insert_many(new, ordered=False)
            except BulkWriteError as error:
                failures = (error.details or {}).get("writeErrors", [])
                if any(failure["code"] != DUPLICATE_KEY for failure in failures):
                    raise
        edited = [
            ReplaceOne({"_id": each.id}, _document(each), upsert=True)
            for each in findables
            if each.edited
        ]
        if edited:
            with transient_errors():
                await self._search.bulk_write(edited, ordered=False)

    async def forget(self, tenant: str, conversations: Collection[str]) -> None:
        """Nothing of these is found any more."""
        with transient_errors():
            await self._search.delete_many(
                {"tenant": tenant, "conversation": {"$in": sorted(conversations)}}
            )

    async def find(
        self,
        tenant: str,
        words: Sequence[str],
        *,
        within: Collection[str] | None,
        after: tuple[datetime, str] | None,
        limit: int,
    ) -> list[Hit]:
        """The newest messages that have all the words. `within`: of these conversations alone."""
        query = search_query(tenant, words, within=within, after=after)
        with transient_errors():
            docs = await (
                self._search.find(query, {"conversation": 1, "at": 1})
                .sort([("at", -1), ("_id", -1)])
                .limit(limit)
                .max_time_ms(LIST_MS)
                .to_list(None)
            )
        return [Hit(doc["_id"], doc["conversation"], doc["at"]) for doc in docs]

    async def conversations(self, tenant: str, ids: Collection[str]) -> dict[str, Conversation]:
        """Their present state, by id."""
        query = {"_id": {"$in": sorted(ids)}, "tenant": tenant, "deleted": False}
        with transient_errors():
            docs = await self._conversations.find(query, {"outbox": 0}).to_list(None)
        return {doc["_id"]: conversation_of(doc["_id"], doc["version"], doc) for doc in docs}

    async def messages(self, tenant: str, ids: Collection[str]) -> dict[str, Message]:
        """The messages themselves, by id."""
        with transient_errors():
            docs = await self._messages.find(
                {"_id": {"$in": sorted(ids)}, "tenant": tenant}
            ).to_list(None)
        return {doc["_id"]: message_of(doc) for doc in docs}


def search_query(
    tenant: str,
    words: Sequence[str],
    *,
    within: Collection[str] | None,
    after: tuple[datetime, str] | None,
) -> Document:
    """Each word is an index scan of its own that MongoDB may choose; the others filter it."""
    clauses: list[Document] = [{"words": word} for word in words]
    if after is not None:
        at, last = after
        # Not as a choice of two bounds: the planner would try an index for each, and sort.
        clauses += [{"at": {"$lte": at}}, {"$nor": [{"at": at, "_id": {"$gte": last}}]}]
    query: Document = {"tenant": tenant, "$and": clauses}
    if within is not None:
        query["conversation"] = {"$in": sorted(within)}
    return query


def _document(it: Findable) -> Document:
    return {
        "_id": it.id,
        "tenant": it.tenant,
        "conversation": it.conversation,
        "seq": it.seq,
        "at": it.at,
        "words": list(it.words),
    }
