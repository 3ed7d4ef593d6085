"""The audit trail, for the tenant's admin."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from services.inbox.api.bodies import Cursor, Items, Limit, Moment, of_moment, to_moment
from services.inbox.api.problems import responses
from services.inbox.api.security import AdminPerson
from services.inbox.model.audit import AuditRecord
from services.inbox.storage.audit import AuditQuery, AuditStore
from services.inbox.storage.directory_view import DirectoryView
from shared.contracts.base import Time

Word = Annotated[str | None, Query(max_length=200)]
Since = Annotated[Moment | None, Query(alias="from")]
Until = Annotated[Moment | None, Query(alias="to")]


class AuditActorView(BaseModel):
    """`kind` is agent, api_key, platform, system or anonymous; `name` is that of now."""

    kind: str
    id: str | None
    name: str | None


class AuditTargetView(BaseModel):
    kind: str
    id: str


class AuditView(BaseModel):
    """`before` and `after` have the members that differ; `secrets` names what is not shown."""

    id: str
    at: Time
    actor: AuditActorView
    action: str
    target: AuditTargetView
    before: dict[str, Any]
    after: dict[str, Any]
    secrets: list[str]

    @classmethod
    def of(cls, record: AuditRecord, view: DirectoryView) -> "AuditView":
        kind, identifier = record.target
        actor = record.actor
        agent = None if actor.id is None else view.agent(record.tenant, actor.id)
        return cls(
            id=record.id,
            at=record.at,
            actor=AuditActorView(
                kind=actor.kind, id=actor.id, name=None if agent is None else agent.name
            ),
            action=record.action,
            target=AuditTargetView(kind=kind, id=identifier),
            before=record.before,
            after=record.after,
            secrets=list(record.secrets),
        )


def router(store: AuditStore, view: DirectoryView) -> APIRouter:
    """`/v1/admin/audit`."""
    routes = APIRouter(
        prefix="/v1/admin/audit",
        tags=["admin"],
        responses=responses("unauthorized", "forbidden", "validation", "unavailable"),
    )

    @routes.get("")
    async def trail(
        person: AdminPerson,
        actor: Word = None,
        action: Word = None,
        since: Since = None,
        until: Until = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Items[AuditView]:
        """The latest first; `from` is part of it, `to` is not."""
        query = AuditQuery(actor, action, since, until)
        page = await store.page(person.tenant, query, after=to_moment(cursor), limit=limit)
        return Items(
            items=[AuditView.of(record, view) for record in page.items],
            next_cursor=None if page.after is None else of_moment(*page.after),
        )

    return routes
