"""The words of messages, beside the messages: written behind them, read by search alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from pymongo import ReplaceOne
from pymongo.errors import BulkWriteError

from services.inbox.model.conversation import Message
from services.inbox.storage.conversations import LIST_MS, SEARCH, WORDS
from services.inbox.storage.documents import message_of
from services.inbox.storage.entries import MESSAGES
from services.inbox.storage.sights import Place
from shared.mongo.client import DUPLICATE_KEY, Database, Document, transient_errors

OF_CONVERSATION = "of_conversation_by_word"
WALKED = 4000
"""Messages of a few conversations that are looked at for a page: all have one of the words."""
ORDER = [("at", -1), ("_id", -1)]


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


@dataclass(frozen=True, slots=True)
class Walked:
    """`until`: the last message that was looked at, None where there is none behind the hits."""

    hits: list[Hit]
    until: Place | None = None


class SearchStore:
    """One small document for each message with words."""

    def __init__(self, database: Database) -> None:
        self._search = database[SEARCH]
        self._messages = database[MESSAGES]

    async def ensure_indexes(self) -> None:
        with transient_errors():
            await self._search.create_index(
                [("tenant", 1), ("words", 1), ("at", 1), ("_id", 1)], name=WORDS
            )
            # Of one chat, or of the few that an agent sees; and to forget a deleted one.
            await self._search.create_index(
                [("tenant", 1), ("conversation", 1), ("words", 1), ("at", 1), ("_id", 1)],
                name=OF_CONVERSATION,
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
        self, tenant: str, words: Sequence[str], *, after: Place | None, limit: int
    ) -> list[Hit]:
        """The newest messages of a tenant that have all the words."""
        with transient_errors():
            docs = await (
                self._search.find(search_query(tenant, words, after), {"conversation": 1, "at": 1})
                .sort(ORDER)
                .hint(WORDS)
                .limit(limit)
                .max_time_ms(LIST_MS)
                .to_list(None)
            )
        return [_hit(doc) for doc in docs]

    async def walk(
        self,
        tenant: str,
        words: Sequence[str],
        within: Collection[str],
        *,
        after: Place | None,
        limit: int,
    ) -> Walked:
        """The same of a few conversations: down what has the longest word, at most `WALKED`."""
        query = within_query(tenant, within, max(words, key=len), after)
        with transient_errors():
            # By the index alone.
            last = await (
                self._search.find(query, {"at": 1})
                .sort(ORDER)
                .hint(OF_CONVERSATION)
                .skip(WALKED - 1)
                .limit(1)
                .max_time_ms(LIST_MS)
                .to_list(None)
            )
            until = (last[0]["at"], last[0]["_id"]) if last else None
            docs = await (
                self._search.find(having(query, words, until), {"conversation": 1, "at": 1})
                .sort(ORDER)
                .hint(OF_CONVERSATION)
                .limit(limit)
                .max_time_ms(LIST_MS)
                .to_list(None)
            )
        return Walked([_hit(doc) for doc in docs], until)

    async def messages(self, tenant: str, ids: Collection[str]) -> dict[str, Message]:
        """The messages themselves, by id."""
        with transient_errors():
            docs = await self._messages.find(
                {"_id": {"$in": sorted(ids)}, "tenant": tenant}
            ).to_list(None)
        return {doc["_id"]: message_of(doc) for doc in docs}


def search_query(tenant: str, words: Sequence[str], after: Place | None) -> Document:
    """Each word is an index scan of its own that MongoDB may choose; the others filter it."""
    query: Document = {"tenant": tenant, "$and": [{"words": word} for word in words]}
    return _beyond(query, after)


def within_query(tenant: str, within: Collection[str], word: str, after: Place | None) -> Document:
    """What has a word in some conversations, whose scans MongoDB merges in their order."""
    within = sorted(within)
    return _beyond({"tenant": tenant, "conversation": {"$in": within}, "words": word}, after)


def having(query: Document, words: Sequence[str], until: Place | None) -> Document:
    """Of that, what has all the words, up to a place."""
    clauses: list[Document] = [{"words": word} for word in words]
    if until is not None:
        at, last = until
        clauses += [{"at": {"$gte": at}}, {"$nor": [{"at": at, "_id": {"$lt": last}}]}]
    return {**query, "$and": [*query.get("$and", ()), *clauses]}


def _beyond(query: Document, after: Place | None) -> Document:
    if after is None:
        return query
    at, last = after
    # Not as a choice of two bounds: the planner would try an index for each, and sort.
    clauses = [{"at": {"$lte": at}}, {"$nor": [{"at": at, "_id": {"$gte": last}}]}]
    return {**query, "$and": [*query.get("$and", ()), *clauses]}


def _hit(doc: Document) -> Hit:
    return Hit(doc["_id"], doc["conversation"], doc["at"])


def _document(it: Findable) -> Document:
    return {
        "_id": it.id,
        "tenant": it.tenant,
        "conversation": it.conversation,
        "seq": it.seq,
        "at": it.at,
        "words": list(it.words),
    }
