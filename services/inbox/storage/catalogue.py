"""Close reasons and canned replies: documents of inbox alone, no other service is told of them.

Each is the head of a log whose entries hold nothing but the line of the audit trail.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Generic, TypeVar

from services.inbox.decisions.audit import audit_setting
from services.inbox.model.audit import actor_now
from services.inbox.model.catalogue import CannedReply, CatalogueItem, CloseReason
from services.inbox.model.errors import not_found
from services.inbox.storage.audit import audit_effects
from shared.mongo.client import Database, Document, transient_errors
from shared.mongo.headlog import Change, Entry, Head, HeadLog, Step

CATALOGUE = "catalogue"
C = TypeVar("C", bound=CatalogueItem)
_KEPT = frozenset({"id", "version"})
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

    def __init__(self, database: Database, log: HeadLog) -> None:
        self._collection = database[CATALOGUE]
        self.log = log

    async def ensure_indexes(self) -> None:
        await self.log.ensure_indexes()
        with transient_errors():
            await self._collection.create_index(
                [("tenant", 1), ("kind", 1), ("sort", 1)], name="tenant_list"
            )

    async def create(self, item: C, created_by: str, at: datetime) -> C:
        """Creates an item. The same request again is answered with its own work."""
        kind = type(item)

        async def decide(head: Head | None) -> Step[C]:
            if head is not None:
                return Step(_item(kind, _there(head, kind, item.tenant)))
            state = {
                "kind": _KINDS[kind],
                **_members(item),
                "sort": _sort(item.name, item.id),
                "created_by": created_by,
                "changed_at": at,
                "deleted": False,
            }
            return Step(item, Change(item.id, 0, state, (_entry(None, item, 1, at),)))

        return await self.log.change(item.id, decide)

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
        """Replaces members; what is so already changes nothing. Refuses with `not_found`."""

        async def decide(head: Head | None) -> Step[C]:
            document = _there(head, kind, tenant)
            before = _item(kind, document)
            after = replace(before, **members)
            if head is None or after == before:
                return Step(before)
            after = replace(after, version=head.version + 1)
            return Step(after, _change(head, after, _entry(before, after, after.version, at), at))

        return await self.log.change(item_id, decide)

    async def delete(self, kind: type[C], tenant: str, item_id: str, at: datetime) -> None:
        """Takes it out of the lists. Refuses with `not_found`."""

        async def decide(head: Head | None) -> Step[None]:
            before = _item(kind, _there(head, kind, tenant))
            if head is None:
                return Step(None)
            version = head.version + 1
            gone = replace(before, version=version)
            change = _change(head, gone, _entry(before, None, version, at), at, deleted=True)
            return Step(None, change)

        await self.log.change(item_id, decide)


def _there(head: Head | None, kind: type[CatalogueItem], tenant: str) -> Document:
    """The document of an item that the tenant has. Refuses with `not_found`."""
    if head is not None:
        state = head.state
        if (state["tenant"], state["kind"], state["deleted"]) == (tenant, _KINDS[kind], False):
            return {**state, "_id": head.id, "version": head.version}
    raise not_found()


def _change(
    head: Head, after: CatalogueItem, entry: Entry, at: datetime, *, deleted: bool = False
) -> Change:
    state = {
        **head.state,
        **_members(after),
        "sort": _sort(after.name, after.id),
        "changed_at": at,
        "deleted": deleted,
    }
    return Change(head.id, head.version, state, (entry,), head.unpublished)


def _entry(
    before: CatalogueItem | None, after: CatalogueItem | None, version: int, at: datetime
) -> Entry:
    records = audit_setting(before, after, version=version, at=at, actor=actor_now())
    return Entry(version, documents=audit_effects(records))


def _sort(name: str, item_id: str) -> str:
    return f"{name.casefold()}\x1f{item_id}"


def _members(item: CatalogueItem) -> Document:
    """Without what the log keeps: the id and the version."""
    return {name: getattr(item, name) for each in fields(item) if (name := each.name) not in _KEPT}


def _item(kind: type[C], doc: Document) -> C:
    members: dict[str, Any] = {
        each.name: doc[each.name] for each in fields(kind) if each.name != "id"
    }
    return kind(id=doc["_id"], **members)
