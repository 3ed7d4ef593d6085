"""The tenant's catalogues: its admin keeps them, everybody reads them."""

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel

from services.inbox.api.bodies import Body, Cursor, Items, Limit, Line, from_cursor, patch_of
from services.inbox.api.bodies import to_cursor as shown_cursor
from services.inbox.api.problems import responses
from services.inbox.api.security import AdminPerson, AnyPerson, IdempotencyKey
from services.inbox.model.catalogue import CloseReason
from services.inbox.workflows.catalogue import Catalogue

PathId = Annotated[str, Path(max_length=200)]


class ReasonBody(Body):
    name: Line


class ReasonChange(Body):
    name: Line = ""


class ReasonView(BaseModel):
    id: str
    name: str
    version: int

    @classmethod
    def of(cls, reason: CloseReason) -> "ReasonView":
        return cls(id=reason.id, name=reason.name, version=reason.version)


def close_reasons_router(catalogue: Catalogue) -> APIRouter:
    """`/v1/admin/close-reasons` and `GET /v1/close-reasons`."""
    routes = APIRouter(
        prefix="/v1",
        tags=["admin"],
        responses=responses("unauthorized", "validation", "unavailable"),
    )
    admin = responses("forbidden", "not_found")

    async def listed(tenant: str, limit: int, cursor: str | None) -> Items[ReasonView]:
        page = await catalogue.page(CloseReason, tenant, limit=limit, after=from_cursor(cursor))
        items = [ReasonView.of(each) for each in page.items]
        return Items(items=items, next_cursor=shown_cursor(page.after))

    @routes.get("/close-reasons", tags=["conversations"])
    async def close_reasons(
        person: AnyPerson, limit: Limit = 100, cursor: Cursor = None
    ) -> Items[ReasonView]:
        return await listed(person.tenant, limit, cursor)

    @routes.get("/admin/close-reasons", responses=admin)
    async def close_reasons_page(
        person: AdminPerson, limit: Limit = 100, cursor: Cursor = None
    ) -> Items[ReasonView]:
        return await listed(person.tenant, limit, cursor)

    @routes.post("/admin/close-reasons", status_code=201, responses=admin)
    async def create_close_reason(
        person: AdminPerson, body: ReasonBody, key: IdempotencyKey = None
    ) -> ReasonView:
        return ReasonView.of(await catalogue.create_reason(person.tenant, body.name, key))

    @routes.get("/admin/close-reasons/{reason_id}", responses=admin)
    async def close_reason(person: AdminPerson, reason_id: PathId) -> ReasonView:
        return ReasonView.of(await catalogue.get(CloseReason, person.tenant, reason_id))

    @routes.patch("/admin/close-reasons/{reason_id}", responses=admin)
    async def change_close_reason(
        person: AdminPerson, reason_id: PathId, body: ReasonChange
    ) -> ReasonView:
        changed = await catalogue.change(CloseReason, person.tenant, reason_id, patch_of(body))
        return ReasonView.of(changed)

    @routes.delete("/admin/close-reasons/{reason_id}", status_code=204, responses=admin)
    async def delete_close_reason(person: AdminPerson, reason_id: PathId) -> None:
        await catalogue.delete(CloseReason, person.tenant, reason_id)

    return routes
