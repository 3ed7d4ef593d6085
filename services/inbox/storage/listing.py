"""Pages of lists. Each is read by an index: in its order, or as few rows that are ordered here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pymongo.errors import ExecutionTimeout

from services.inbox.decisions.finding import (
    Sought,
    has_words,
    kept_query,
    phone_ends,
    shown,
)
from services.inbox.decisions.listing import Position, Selection, Way, until
from services.inbox.model.conversation import Conversation
from services.inbox.storage.contacts import CONTACTS
from services.inbox.storage.conversations import LIST_MS, SEARCH, WORDS
from services.inbox.storage.documents import conversation_of
from services.inbox.storage.entries import CONVERSATIONS
from shared.mongo.client import Collection, Database, Document, transient_errors

CANDIDATES = 700
"""Contacts, and messages, that have the words; more are come across by walking."""
TRIED = 3
"""Words of which one may be rare."""
WALKED, READ = 20_000, 2000
"""Rows that are looked at for rare filters, and for words, before a page is given as it is."""
PATIENCE_MS = 1000
_NEVER = datetime(1, 1, 1, tzinfo=UTC)
Row = tuple[str, datetime | None]


@dataclass(frozen=True, slots=True)
class Page:
    """Conversations in order; `after` is where the next page begins, None at the end.

    It may have fewer than were asked for though another follows: their words are far apart.
    """

    items: list[Conversation]
    after: Position | None


class ListStore:
    """Reads conversations by query, without what is in their outboxes."""

    def __init__(self, database: Database) -> None:
        self._conversations = database[CONVERSATIONS]
        self._contacts = database[CONTACTS]
        self._search = database[SEARCH]

    async def page(self, selection: Selection, limit: int) -> Page:
        """The first rows of a selection."""
        if selection.sought is not None:
            return await self._searched(selection, selection.sought, limit)
        way = await self._shortest(selection)
        if not way.ordered:
            rows = await self._gathered(selection.query, selection.field, way.index)
            return await self._page_of(rows, selection, limit)
        docs = await self._in_order(selection, way, limit, [], PATIENCE_MS)
        if docs is None:
            return await self._walked(selection, way, limit, WALKED, [])
        return _page(docs, selection, limit)

    # -- in the index' order

    async def _in_order(
        self,
        selection: Selection,
        way: Way,
        limit: int,
        wanted: Sequence[Document],
        patience: int = LIST_MS,
    ) -> list[Document] | None:
        """None: what the filters let pass is so rare that it takes too long to come to a page."""
        with transient_errors():
            found = self._conversations.find(
                {"$and": [selection.query, *wanted]} if wanted else selection.query, {"outbox": 0}
            )
            ordered = found.sort(order_of(selection)).hint(way.index).limit(limit + 1)
            try:
                return await ordered.max_time_ms(patience).to_list(None)
            except ExecutionTimeout:
                if patience == LIST_MS:
                    raise
                return None

    async def _walked(
        self, selection: Selection, way: Way, limit: int, most: int, wanted: list[Document]
    ) -> Page:
        """Down the list, as far as `most` rows; where too few are wanted, from there on."""
        with transient_errors():
            # By the index alone.
            last = await (
                self._conversations.find(selection.bounds(way), {selection.field: 1})
                .sort(order_of(selection))
                .hint(way.index)
                .skip(most - 1)
                .limit(1)
                .max_time_ms(LIST_MS)
                .to_list(None)
            )
        end = Position(_value(last[0], selection.field), last[0]["_id"]) if last else None
        within = [] if end is None else until(selection, end)
        docs = await self._in_order(selection, way, limit, [*wanted, *within]) or []
        page = _page(docs, selection, limit)
        return page if page.after is not None else Page(page.items, end)

    async def _shortest(self, selection: Selection, *, ordered: bool = False) -> Way:
        """The way with the fewest rows. One without order is taken for few of them alone."""
        ways = [way for way in selection.ways if way.ordered or not ordered]
        if len(ways) == 1:
            return ways[0]
        best: Way | None = None
        least = cap = selection.few + 1
        for way in ways:
            with transient_errors():
                rows = await self._conversations.count_documents(
                    way.bounds, hint=way.index, limit=cap
                )
            if rows < least or (best is None and way.ordered):
                best, least = way, rows
        return best or ways[-1]

    # -- few rows, ordered here

    async def _gathered(self, query: Document, field: str, index: str) -> list[Row]:
        with transient_errors():
            docs = await (
                self._conversations.find(query, {field: 1})
                .hint(index)
                .max_time_ms(LIST_MS)
                .to_list(None)
            )
        return [(doc["_id"], _value(doc, field)) for doc in docs]

    async def _page_of(self, rows: Iterable[Row], selection: Selection, limit: int) -> Page:
        ordered = sorted(
            set(rows), key=lambda row: (row[1] or _NEVER, row[0]), reverse=selection.direction < 0
        )[: limit + 1]
        ids = [row[0] for row in ordered[:limit]]
        with transient_errors():
            # By the same query: one may just have gone elsewhere.
            docs = await (
                self._conversations.find(
                    {"$and": [{"_id": {"$in": ids}}, selection.query]}, {"outbox": 0}
                )
                .hint("_id_")
                .to_list(None)
            )
        found = {doc["_id"]: doc for doc in docs}
        after = Position(ordered[limit - 1][1], ids[-1]) if len(ordered) > limit else None
        return Page([_conversation(found[each]) for each in ids if each in found], after)

    # -- by words

    async def _searched(self, selection: Selection, it: Sought, limit: int) -> Page:
        """Few have the words: theirs are gathered. Many: one comes across them down the list."""
        tenant, query, field = selection.query["tenant"], selection.query, selection.field
        contacts, said = await asyncio.gather(
            self._named(tenant, it), self._few(self._search, tenant, it.words, "conversation")
        )
        own: list[Document] = [] if said is None else [{"_id": {"$in": sorted(said)}}]
        if contacts is None or said is None:
            way = await self._shortest(selection, ordered=True)
            return await self._walked(selection, way, limit, READ, [{"$or": [shown(it), *own]}])
        theirs = {**query, "contact.id": {"$in": sorted(contacts)}}
        rows = await self._gathered(theirs, field, "contact")
        rows += await self._gathered({"$and": [query, *own]}, field, "_id_")
        return await self._page_of(rows, selection, limit)

    async def _named(self, tenant: str, it: Sought) -> set[str] | None:
        """The contacts that have the words, or the phone; None: too many have."""
        contacts = await self._few(self._contacts, tenant, it.words, "_id")
        for end in phone_ends(it):
            found = await self._few(self._contacts, tenant, (end,), "_id")
            if contacts is None or found is None:
                return None
            contacts |= found
        return contacts

    async def _few(
        self, collection: Collection, tenant: str, words: Sequence[str], member: str
    ) -> set[str] | None:
        """What has all the words; None where each of them is in many."""
        for word in words[:TRIED]:
            query = kept_query(tenant, word)
            with transient_errors():
                many = await collection.count_documents(query, hint=WORDS, limit=CANDIDATES + 1)
                if many > CANDIDATES:
                    continue
                members = {member: 1, "words": 1} if len(words) > 1 else {member: 1}
                docs = await (
                    collection.find(query, members)
                    .hint(WORDS)
                    .limit(CANDIDATES)
                    .max_time_ms(LIST_MS)
                    .to_list(None)
                )
            rest = [each for each in words if each != word]
            return {doc[member] for doc in docs if has_words(doc.get("words", ()), rest)}
        return None


def order_of(selection: Selection) -> list[tuple[str, int]]:
    """The order of a list, as MongoDB takes it."""
    return [(selection.field, selection.direction), ("_id", selection.direction)]


def _page(docs: Sequence[Document], selection: Selection, limit: int) -> Page:
    items = [_conversation(doc) for doc in docs[:limit]]
    if len(docs) <= limit:
        return Page(items, None)
    return Page(items, Position(_value(docs[limit - 1], selection.field), items[-1].id))


def _conversation(doc: Document) -> Conversation:
    return conversation_of(doc["_id"], doc["version"], doc)


def _value(doc: Document, path: str) -> datetime | None:
    found: Any = doc
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, datetime) else None
