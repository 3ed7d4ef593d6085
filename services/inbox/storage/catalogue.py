"""Close reasons and canned replies: documents of inbox alone, no other service is told of them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Generic, TypeVar

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from services.inbox.model.catalogue import CannedReply, CatalogueItem, CloseReason
from services.inbox.model.errors import not_found
from shared.mongo.client import Database, Document, transient_errors

CATALOGUE = "catalogue"
C = TypeVar("C", bound=CatalogueItem)
_KINDS: dict[type[CatalogueItem], str] = {
    CloseReason: "close_reason",
    CannedReply: "canned_reply",
}


@dataclass(frozen=True, slots=True)
class CataloguePage(Generic[C]):
    """Items by name; `after` is where the next page begins, None at the end."""

    items: list[C]
    after: str | None


class CatalogueStore:
    """A deleted item keeps its document: episodes still show its name."""

    def __init__(self, database: Database) -> None:
        self._collection = database[CATALOGUE]

    async def ensure_indexes(self) -> None:
        with transient_errors():
            await self._collection.create_index(
                [("tenant", 1), ("kind", 1), ("sort", 1)], name="tenant_list"
            )

    async def create(self, item: C, created_by: str, at: datetime) -> C:
        """Creates an item. The same request again is answered with its own work."""
        document = {
            "_id": item.id,
            "kind": _KINDS[type(item)],
            **_members(item),
            "sort": _sort(item.name, item.id),
            "created_by": created_by,
            "changed_at": at,
            "deleted": False,
        }
        try:
            with transient_errors():
                await self._collection.insert_one(document)
        except DuplicateKeyError:
            return await self.get(type(item), item.tenant, item.id)
        return item

    async def get(self, kind: type[C], tenant: str, item_id: str) -> C:
        """The item. Refuses with `not_found`."""
        found = await self.find(kind, tenant, item_id)
        if found is None:
            raise not_found()
        return found

    async def find(self, kind: type[C], tenant: str, item_id: str) -> C | None:
        """The item, None where there is none or it is deleted."""
        with transient_errors():
            doc = await self._collection.find_one(
                {"_id": item_id, "tenant": tenant, "kind": _KINDS[kind], "deleted": False}
            )
        return None if doc is None else _item(kind, doc)

    async def names(self, kind: type[C], tenant: str, ids: set[str]) -> dict[str, str]:
        """Names by id, those of deleted items too."""
        if not ids:
            return {}
        query = {"_id": {"$in": sorted(ids)}, "tenant": tenant, "kind": _KINDS[kind]}
        with transient_errors():
            docs = await self._collection.find(query, {"name": 1}).to_list(None)
        return {doc["_id"]: doc["name"] for doc in docs}

    async def page(
        self,
        kind: type[C],
        tenant: str,
        *,
        limit: int,
        after: str | None,
        matching: Document | None = None,
    ) -> CataloguePage[C]:
        """A page by name. `matching`: a further condition on the members."""
        query: Document = {
            "tenant": tenant,
            "kind": _KINDS[kind],
            "sort": {"$gt": after or ""},
            "deleted": False,
            **(matching or {}),
        }
        with transient_errors():
            docs = await self._collection.find(query).sort("sort", 1).limit(limit + 1).to_list(None)
        items = [_item(kind, doc) for doc in docs[:limit]]
        return CataloguePage(items, docs[limit - 1]["sort"] if len(docs) > limit else None)

    async def change(
        self, kind: type[C], tenant: str, item_id: str, members: Document, at: datetime
    ) -> C:
        """Replaces members; the last change wins. Refuses with `not_found`."""
        changes = {**members, "changed_at": at}
        if "name" in members:
            changes["sort"] = _sort(members["name"], item_id)
        with transient_errors():
            doc = await self._collection.find_one_and_update(
                {"_id": item_id, "tenant": tenant, "kind": _KINDS[kind], "deleted": False},
                {"$set": changes, "$inc": {"version": 1}},
                return_document=ReturnDocument.AFTER,
            )
        if doc is None:
            raise not_found()
        return _item(kind, doc)


def _sort(name: str, item_id: str) -> str:
    return f"{name.casefold()}\x1f{item_id}"


def _members(item: CatalogueItem) -> Document:
    return {each.name: getattr(item, each.name) for each in fields(item) if each.name != "id"}


def _item(kind: type[C], doc: Document) -> C:
    members: dict[str, Any] = {
        each.name: doc[each.name] for each in fields(kind) if each.name != "id"
    }
    return kind(id=doc["_id"], **members)
