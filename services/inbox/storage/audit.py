"""The audit trail: documents that are added and never changed, and go when their time is over.

What changes a head of a log writes its record as an effect of the same outbox entry, so that no
change is without one. What has no head (a sign-in, a failure) adds it before it answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pymongo import ASCENDING, DESCENDING
from pymongo.errors import OperationFailure

from services.inbox.model.audit import AuditActor, AuditRecord
from shared.mongo.client import Database, Document, transient_errors
from shared.mongo.headlog import Insert

AUDIT = "audit"
_INDEX_OPTIONS_CONFLICT = 85
_EXPIRY = "kept"


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """`since` is part of it, `until` is not; None: any."""

    actor: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Records, the latest first; `after` is where the next page begins, None at the end."""

    items: Sequence[AuditRecord]
    after: tuple[datetime, str] | None


def audit_effects(records: Iterable[AuditRecord]) -> tuple[Insert, ...]:
    """The records as effects of an outbox entry."""
    return tuple(Insert(AUDIT, _document(record)) for record in records)


class AuditStore:
    """Adds and reads; nothing here changes or removes a record."""

    def __init__(self, database: Database, *, kept: timedelta) -> None:
        self._database = database
        self._audit = database[AUDIT]
        self._kept = int(kept.total_seconds())

    async def ensure_indexes(self) -> None:
        """The order of lists, and the expiry: another retention changes the index in place."""
        with transient_errors():
            for before in ([], [("actor.id", ASCENDING)], [("action", ASCENDING)]):
                await self._audit.create_index(
                    [("tenant", ASCENDING), *before, ("at", DESCENDING), ("_id", DESCENDING)]
                )
            try:
                await self._audit.create_index("at", name=_EXPIRY, expireAfterSeconds=self._kept)
            except OperationFailure as failure:
                if failure.code != _INDEX_OPTIONS_CONFLICT:
                    raise
                await self._database.command(
                    "collMod",
                    AUDIT,
                    index={"name": _EXPIRY, "expireAfterSeconds": self._kept},
                )

    async def add(self, record: AuditRecord) -> None:
        with transient_errors():
            await self._audit.insert_one(_document(record))

    async def page(
        self, tenant: str, query: AuditQuery, *, after: tuple[datetime, str] | None, limit: int
    ) -> AuditPage:
        """A page of a tenant's trail."""
        found: Document = {"tenant": tenant}
        if query.actor is not None:
            found["actor.id"] = query.actor
        if query.action is not None:
            found["action"] = query.action
        times: Document = {}
        if query.since is not None:
            times["$gte"] = query.since
        if query.until is not None:
            times["$lt"] = query.until
        if times:
            found["at"] = times
        if after is not None:
            at, record_id = after
            found["$or"] = [{"at": {"$lt": at}}, {"at": at, "_id": {"$lt": record_id}}]
        with transient_errors():
            docs = await (
                self._audit.find(found)
                .sort([("at", DESCENDING), ("_id", DESCENDING)])
                .limit(limit + 1)
                .to_list(None)
            )
        more = len(docs) > limit
        docs = docs[:limit]
        last = (docs[-1]["at"], docs[-1]["_id"]) if more else None
        return AuditPage([_record(doc) for doc in docs], last)


def _document(record: AuditRecord) -> Document:
    # `v` is what the log's writes of documents ask for; a record has one state.
    return {
        "_id": record.id,
        "v": 1,
        "tenant": record.tenant,
        "at": record.at,
        "actor": {"kind": record.actor.kind, "id": record.actor.id},
        "action": record.action,
        "target": list(record.target),
        "before": record.before,
        "after": record.after,
        "secrets": list(record.secrets),
    }


def _record(doc: Mapping[str, Any]) -> AuditRecord:
    kind, identifier = doc["target"]
    return AuditRecord(
        id=doc["_id"],
        tenant=doc["tenant"],
        at=doc["at"],
        actor=AuditActor(doc["actor"]["kind"], doc["actor"]["id"]),
        action=doc["action"],
        target=(kind, identifier),
        before=doc["before"],
        after=doc["after"],
        secrets=tuple(doc["secrets"]),
    )
