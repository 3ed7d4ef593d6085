"""The platform's tenants: create, suspend, erase."""

from typing import Annotated, Literal, cast

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel

from services.inbox.api.bodies import (
    Body,
    Cursor,
    Email,
    Items,
    Limit,
    Line,
    Password,
    from_cursor,
    patch_of,
    to_cursor,
)
from services.inbox.api.problems import responses
from services.inbox.api.security import IdempotencyKey, require_platform
from services.inbox.api.views import AgentView, NewTenantView, TenantView
from services.inbox.model.entities import Tenant
from services.inbox.storage.directory import DirectoryStore
from services.inbox.storage.keys import KeyState, SigningKeys
from services.inbox.workflows.agents import Agents, NewAgent
from services.inbox.workflows.keyset import KeyRotation
from services.inbox.workflows.tenants import NewTenant, TenantPatch, Tenants
from shared.contracts.base import Time
from shared.contracts.views import Role


class AdminBody(Body):
    email: Email
    name: Line
    password: Password


class TenantBody(Body):
    name: Line
    admin: AdminBody


class TenantChange(Body):
    name: Line = ""
    status: Literal["active", "suspended"] = "active"


TenantId = Annotated[str, Path(max_length=200)]


class SigningKeyView(BaseModel):
    """`id` is the `kid` of tokens and of the JWKS."""

    id: str
    created_at: Time
    signs_from: Time
    signing: bool

    @classmethod
    def of(cls, state: KeyState) -> "SigningKeyView":
        return cls(
            id=state.kid,
            created_at=state.created_at,
            signs_from=state.signs_from,
            signing=state.signing,
        )


def keys_router(keys: SigningKeys, rotation: KeyRotation) -> APIRouter:
    """`/v1/platform/signing-keys`, for the holder of the platform token."""
    routes = APIRouter(
        prefix="/v1/platform/signing-keys",
        tags=["platform"],
        dependencies=[Depends(require_platform)],
        responses=responses("unauthorized", "unavailable"),
    )

    @routes.get("")
    async def signing_keys() -> Items[SigningKeyView]:
        return Items(items=[*map(SigningKeyView.of, await keys.states())])

    @routes.post("", status_code=202)
    async def rotate() -> Items[SigningKeyView]:
        """Makes the next key; while one waits to sign, nothing more happens."""
        return Items(items=[*map(SigningKeyView.of, await rotation.rotate())])

    return routes


def router(tenants: Tenants, agents: Agents, directory: DirectoryStore) -> APIRouter:
    """`/v1/platform/tenants`, for the holder of the platform token."""
    routes = APIRouter(
        prefix="/v1/platform/tenants",
        tags=["platform"],
        dependencies=[Depends(require_platform)],
        responses=responses("unauthorized", "validation", "unavailable"),
    )

    @routes.get("")
    async def tenants_page(limit: Limit = 100, cursor: Cursor = None) -> Items[TenantView]:
        page = await directory.page(Tenant, None, limit=limit, after=from_cursor(cursor))
        return Items(items=[*map(TenantView.of, page.items)], next_cursor=to_cursor(page.after))

    @routes.post("", status_code=201, responses=responses("email_taken"))
    async def create_tenant(body: TenantBody, key: IdempotencyKey = None) -> NewTenantView:
        admin = body.admin
        new = NewTenant(body.name, admin.email, admin.name, admin.password)
        return NewTenantView.with_admin(*await tenants.create(new, key))

    @routes.get("/{tenant_id}", responses=responses("not_found"))
    async def tenant(tenant_id: TenantId) -> TenantView:
        return TenantView.of(await directory.get(Tenant, tenant_id, tenant_id))

    @routes.patch("/{tenant_id}", responses=responses("not_found"))
    async def change_tenant(tenant_id: TenantId, body: TenantChange) -> TenantView:
        return TenantView.of(await tenants.change(tenant_id, cast("TenantPatch", patch_of(body))))

    @routes.post(
        "/{tenant_id}/admins", status_code=201, responses=responses("not_found", "email_taken")
    )
    async def create_admin(
        tenant_id: TenantId, body: AdminBody, key: IdempotencyKey = None
    ) -> AgentView:
        """One more admin, for a tenant whose own are gone or locked out."""
        await directory.get(Tenant, tenant_id, tenant_id)
        new = NewAgent(body.email, body.name, body.password, Role.ADMIN)
        return AgentView.of(await agents.create(tenant_id, new, key))

    @routes.delete("/{tenant_id}", status_code=204, responses=responses("not_found"))
    async def erase_tenant(tenant_id: TenantId) -> None:
        await tenants.erase(tenant_id)

    return routes
