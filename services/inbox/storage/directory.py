"""The directory in MongoDB: one document per entity, each the head of its own log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar, cast

from pymongo import ASCENDING
from pymongo.errors import BulkWriteError

from services.inbox.decisions.audit import audit_change, audit_creation
from services.inbox.model.audit import actor_now
from services.inbox.model.entities import CLASSES, KINDS, Entity
from services.inbox.model.errors import not_found
from services.inbox.storage.audit import audit_effects
from services.inbox.storage.directory_documents import entity_of, head_id, state_of
from services.inbox.storage.directory_records import entry_of, records_of
from services.inbox.storage.directory_view import DirectoryView
from shared.contracts.directory import EntityKind
from shared.faults import FaultPoints, NoFaults
from shared.mongo.client import DUPLICATE_KEY, Database, Document, transient_errors
from shared.mongo.headlog import (
    Change,
    DocumentWrite,
    Entry,
    Head,
    HeadLog,
    Insert,
    RunPublisher,
    Step,
)

COLLECTION = "directory"
E = TypeVar("E", bound=Entity)
_SETTLED = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Pending:
    """A deleted entity that something is to follow of; `looked`: for the second time."""

    entity: Entity
    looked: bool


@dataclass(frozen=True, slots=True)
class Page(Generic[E]):
    """Entities in order; `after` is where the next page begins, None at the end."""

    items: list[E]
    after: str | None


class DirectoryStore:
    """Reads and changes entities; what it writes is in the view before it answers."""

    def __init__(
        self,
        database: Database,
        publisher: RunPublisher,
        view: DirectoryView,
        *,
        faults: FaultPoints | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._collection = database[COLLECTION]
        self._publisher = publisher
        self._faults = faults or NoFaults()
        self._clock = clock
        self.log = HeadLog(database, COLLECTION, publisher, faults=faults, clock=clock)
        self.view = view

    async def ensure_indexes(self) -> None:
        """What the lists and the follow-up loop read by."""
        await self.log.ensure_indexes()
        with transient_errors():
            await self._collection.create_index(
                [("tenant", ASCENDING), ("kind", ASCENDING), ("sort", ASCENDING)],
                name="tenant_list",
            )
            await self._collection.create_index(
                [("kind", ASCENDING), ("sort", ASCENDING)], name="kind_list"
            )
            await self._collection.create_index(
                "follow_up",
                name="follow_up",
                partialFilterExpression={"follow_up": True},
            )

    # -- reading

    async def find(self, kind: type[E], tenant: str, entity_id: str) -> E | None:
        """The entity, or None when there is none, it is deleted, or it is another tenant's."""
        found = await self.find_any(kind, entity_id)
        return found if found is not None and found.tenant == tenant else None

    async def find_any(self, kind: type[E], entity_id: str) -> E | None:
        """The entity of whichever tenant: only for what comes in by a platform-wide name."""
        with transient_errors():
            doc = await self._collection.find_one(
                {"_id": head_id(kind, entity_id), "deleted": False}
            )
        if doc is None:
            return None
        entity = cast("E", entity_of(doc))
        self._show(entity)
        return entity

    async def get(self, kind: type[E], tenant: str, entity_id: str) -> E:
        """The entity. Refuses with `not_found`."""
        found = await self.find(kind, tenant, entity_id)
        if found is None:
            raise not_found()
        return found

    async def page(
        self, kind: type[E], tenant: str | None, *, limit: int, after: str | None
    ) -> Page[E]:
        """A page of a tenant's entities, by name; tenant None: of all (the tenants themselves)."""
        query: Document = {"kind": KINDS[kind].value, "deleted": False}
        if tenant is not None:
            query["tenant"] = tenant
        if after is not None:
            query["sort"] = {"$gt": after}
        with transient_errors():
            docs = await (
                self._collection.find(query).sort("sort", ASCENDING).limit(limit + 1).to_list(None)
            )
        more = len(docs) > limit
        docs = docs[:limit]
        return Page([cast("E", entity_of(doc)) for doc in docs], docs[-1]["sort"] if more else None)

    async def every(self, kind: type[E], tenant: str) -> AsyncIterator[E]:
        """All entities of a kind of a tenant."""
        after: str | None = None
        while True:
            page = await self.page(kind, tenant, limit=100, after=after)
            for entity in page.items:
                yield entity
            if page.after is None:
                return
            after = page.after

    # -- changing

    async def create(self, entity: E, *, also: Sequence[Entity] = ()) -> E:
        """Creates an entity, or answers with what is there under its id already, even deleted.

        `also` are entities that begin to exist by the same compare-and-set; when this answers
        they are stored too, and they are by the sweeper if this process dies.
        """
        others = [replace(other, version=1) for other in also]

        async def decide(head: Head | None) -> Step[E]:
            if head is not None:
                return Step(cast("E", _entity(head)))
            new = replace(entity, version=1)
            began: list[Entity] = [new, *others]
            entry = Entry(
                version=1,
                events=tuple(record for one in began for record in records_of(one)),
                documents=(
                    *(Insert(COLLECTION, _whole(other)) for other in others),
                    *audit_effects(audit_creation(began, actor_now())),
                ),
            )
            change = Change(head_id(type(new), new.id), 0, state_of(new), (entry,))
            return Step(new, change)

        await self._faults.reach("create")
        found = await self.log.change(head_id(type(entity), entity.id), decide)
        await self._faults.reach("created")
        if found.created_by == entity.created_by:
            await self._insert_missing(others)
            for other in others:
                self._show(other)
        self._show(found)
        return found

    async def change(
        self,
        kind: type[E],
        tenant: str,
        entity_id: str,
        decide: Callable[[E], E],
        *,
        effects: Callable[[E], Sequence[DocumentWrite]] = lambda _: (),
        audited: bool = True,
    ) -> E:
        """Replaces an entity by what `decide` makes of it; the same value changes nothing.

        `decide` may run several times. `effects` are further documents that the new version
        writes; its audit record is one, unless it is part of an erasure. Refuses with `not_found`.
        """

        async def step(head: Head | None) -> Step[E]:
            before = None if head is None else cast("E", _entity(head))
            if head is None or before is None or before.deleted or before.tenant != tenant:
                raise not_found()
            after = decide(before)
            if after == before:
                return Step(before)
            after = replace(after, version=before.version + 1, changed_at=self._clock())
            state = state_of(after)
            if after.deleted:
                state["follow_up"] = True
            entry = Entry(
                version=after.version,
                events=records_of(after, before=before),
                documents=(*effects(after), *_audit(before, after, audited=audited)),
            )
            return Step(after, Change(head.id, head.version, state, (entry,), head.unpublished))

        entity = await self.log.change(head_id(kind, entity_id), step)
        self._show(entity)
        return entity

    # -- what follows a deletion

    async def followed_up(self, entity: Entity) -> None:
        """Notes that everything that a deletion brings with it is done."""
        update = {"$unset": {"follow_up": "", "follow_up_at": "", "follow_up_looked": ""}}
        await self._note(entity, update)

    async def follow_up_at(self, entity: Entity, at: datetime, *, looked: bool) -> None:
        """Notes when to look at a deletion again; `looked`: a first time is done with."""
        await self._note(entity, {"$set": {"follow_up_at": at, "follow_up_looked": looked}})

    async def _note(self, entity: Entity, update: Document) -> None:
        with transient_errors():
            # Another pod may be done with it.
            await self._collection.update_one(
                {"_id": head_id(type(entity), entity.id), "follow_up": True}, update
            )

    async def to_follow_up(self, now: datetime, *, limit: int = 50) -> list[Pending]:
        """Deleted entities to be looked at by now, the longest due first."""
        due = {"follow_up": True, "follow_up_at": {"$not": {"$gt": now}}}
        with transient_errors():
            docs = await (
                self._collection.find(due)
                .sort("follow_up_at", ASCENDING)
                .limit(limit)
                .to_list(None)
            )
        return [Pending(entity_of(doc), doc.get("follow_up_looked", False)) for doc in docs]

    # -- keeping the topic true

    async def retell(self) -> int:
        """Publishes again what the topic has in an older version or not at all; how many.

        A process that was stopped between its write and its produce can put version 1 behind
        version 2, and compaction keeps the last record, not the newest. Also refills a topic
        that was lost. To be called when the view has read the topic to its end.
        """
        settled = self._clock() - _SETTLED
        stale: list[str] = []
        with transient_errors():
            cursor = self._collection.find(
                {"changed_at": {"$lt": settled}},
                {"version": 1, "kind": 1, "tenant": 1, "id": 1, "deleted": 1},
            )
            async for doc in cursor:
                told = self.view.told((EntityKind(doc["kind"]), doc["tenant"], doc["id"]))
                if told < doc["version"] and (told or not doc["deleted"]):
                    stale.append(doc["_id"])
        return await self._publish_again(stale)

    async def retell_behind(self) -> int:
        """The same for what the view saw going back."""
        behind, self.view.behind = self.view.behind, set()
        try:
            return await self._publish_again(
                [head_id(CLASSES[kind], entity_id) for kind, _, entity_id in behind]
            )
        except BaseException:
            self.view.behind |= behind
            raise

    async def _publish_again(self, ids: Sequence[str]) -> int:
        if not ids:
            return 0
        heads = await self.log.load(ids)
        runs = [[record.out() for record in records_of(_entity(head))] for head in heads.values()]
        await self._publisher.publish_runs(runs, timeout=timedelta(seconds=10))
        return len(runs)

    # -- inside

    async def _insert_missing(self, entities: Sequence[Entity]) -> None:
        if not entities:
            return
        try:
            with transient_errors():
                await self._collection.insert_many([_whole(e) for e in entities], ordered=False)
        except BulkWriteError as error:
            failures: list[dict[str, Any]] = (error.details or {}).get("writeErrors", [])
            if any(failure["code"] != DUPLICATE_KEY for failure in failures):
                raise

    def _show(self, entity: Entity) -> None:
        place = (KINDS[type(entity)], entity.tenant, entity.id)
        self.view.put(place, entity.version, None if entity.deleted else entry_of(entity))


def _audit(before: Entity, after: Entity, *, audited: bool) -> tuple[Insert, ...]:
    return audit_effects(audit_change(before, after, actor_now())) if audited else ()


def _entity(head: Head) -> Entity:
    return entity_of({**head.state, "version": head.version})


def _whole(entity: Entity) -> Document:
    # `v` is what the log's guarded writes look at.
    return {
        "_id": head_id(type(entity), entity.id),
        **state_of(entity),
        "version": entity.version,
        "v": entity.version,
    }
