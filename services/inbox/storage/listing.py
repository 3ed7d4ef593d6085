"""Pages of lists. Each is read by an index: in its order, or as few rows that are ordered here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from services.inbox.decisions.finding import (
    Sought,
    contacts_queries,
    said_last,
    said_query,
    shown,
)
from services.inbox.decisions.listing import Position, Selection, Way
from services.inbox.model.conversation import Conversation
from services.inbox.storage.contacts import CONTACTS
from services.inbox.storage.conversations import LIST_MS, SEARCH, WORDS
from services.inbox.storage.documents import conversation_of
from services.inbox.storage.entries import CONVERSATIONS
from shared.mongo.client import Collection, Database, Document, transient_errors

CANDIDATES = 1000
"""Contacts, and messages, that have the words; more are come across by walking."""
WALKED, READ = 20_000, 4000
"""Rows that are looked at for filters, and for words, before a page is given as it is."""
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
            rows = await self._found(selection, selection.sought)
            if rows is not None:
                return await self._page_of(rows, selection, limit)
            way = await self._shortest(selection, ordered=True)
            return await self._walked(selection, way, limit, READ, shown(selection.sought))
        if selection.plain:
            return await self._in_order(selection, limit)
        way = await self._shortest(selection)
        if way.ordered:
            return await self._walked(selection, way, limit, WALKED)
        rows = await self._gathered(selection.query, selection.field, way.index)
        return await self._page_of(rows, selection, limit)

    # -- in the index' order

    async def _in_order(self, selection: Selection, limit: int) -> Page:
        """Without a pipeline, whose cursor reads on beyond the page."""
        with transient_errors():
            docs = await (
                self._conversations.find(selection.query, {"outbox": 0})
                .sort(_order(selection))
                .hint(selection.ways[0].index)
                .limit(limit + 1)
                .max_time_ms(LIST_MS)
                .to_list(None)
            )
        return _page(docs, selection, limit)

    async def _walked(
        self, selection: Selection, way: Way, limit: int, most: int, *wanted: Document
    ) -> Page:
        """Down the list, as far as `most` rows; where too few are wanted, from there on."""
        steps = walking_steps(selection, way, limit, most, *wanted)
        with transient_errors():
            docs = await self._conversations.aggregate(
                steps, hint=way.index, maxTimeMS=LIST_MS
            ).to_list(None)
            if len(docs) > limit:
                return _page(docs, selection, limit)
            last = await (
                self._conversations.find(selection.bounds(way), {selection.field: 1})
                .sort(_order(selection))
                .hint(way.index)
                .skip(most - 1)
                .limit(1)
                .max_time_ms(LIST_MS)
                .to_list(None)
            )
        after = [Position(_value(doc, selection.field), doc["_id"]) for doc in last]
        return Page([_conversation(doc) for doc in docs], after[0] if after else None)

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

    async def _found(self, selection: Selection, it: Sought) -> list[Row] | None:
        """The rows that have the words; None: too many have."""
        tenant = selection.query["tenant"]
        contacts: set[str] = set()
        for asked in contacts_queries(tenant, it):
            found = await self._few(self._contacts, asked, "_id")
            if found is None:
                return None
            contacts |= found
        said = await self._few(self._search, said_query(tenant, it), "conversation")
        if said is None:
            return None
        query, field = selection.query, selection.field
        named = await self._gathered(
            {**query, "contact.id": {"$in": sorted(contacts)}}, field, "contact"
        )
        last = {"_id": {"$in": sorted(said)}, **said_last(it)}
        return named + await self._gathered({"$and": [query, last]}, field, "_id_")

    async def _few(self, collection: Collection, query: Document, member: str) -> set[str] | None:
        with transient_errors():
            docs = await (
                collection.find(query, {member: 1})
                .hint(WORDS)
                .limit(CANDIDATES + 1)
                .max_time_ms(LIST_MS)
                .to_list(None)
            )
        return None if len(docs) > CANDIDATES else {doc[member] for doc in docs}


def walking_steps(
    selection: Selection, way: Way, limit: int, most: int, *wanted: Document
) -> list[Document]:
    """So many entries of an index in order, then what else the rows must be."""
    return [
        {"$match": selection.bounds(way)},
        {"$sort": dict(_order(selection))},
        {"$limit": most},
        {"$match": {"$and": [selection.query, *wanted]}},
        {"$limit": limit + 1},
        {"$project": {"outbox": 0}},
    ]


def _order(selection: Selection) -> list[tuple[str, int]]:
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
