"""The platform's tenants."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypedDict

from services.inbox.model.entities import Agent, Tenant, TenantPolicy, TenantStatus
from services.inbox.model.errors import RefusedError
from services.inbox.storage.claims import Claims
from services.inbox.storage.directory import DirectoryStore
from services.inbox.storage.passwords import Passwords
from services.inbox.workflows.follow_ups import FollowUps
from services.inbox.workflows.requests import Creation, Creations, create_claimed
from shared.contracts.directory import PLATFORM, Policy
from shared.contracts.views import Role
from shared.ids import IdHasher


@dataclass(frozen=True, slots=True)
class NewTenant:
    """A tenant and its first admin; the e-mail is folded."""

    name: str
    admin_email: str
    admin_name: str
    admin_password: str


class TenantPatch(TypedDict, total=False):
    """The members of a tenant to replace; what is absent stays."""

    name: str
    status: TenantStatus


class Tenants:
    """Creates, suspends and erases tenants."""

    def __init__(
        self,
        directory: DirectoryStore,
        claims: Claims,
        passwords: Passwords,
        creations: Creations,
        *,
        follow_ups: FollowUps,
        ids: IdHasher,
    ) -> None:
        self._directory = directory
        self._claims = claims
        self._passwords = passwords
        self._creations = creations
        self._follow_ups = follow_ups
        self._ids = ids

    async def create(self, new: NewTenant, key: str | None) -> tuple[Tenant, Agent]:
        """The tenant, its policy and its admin, by one compare-and-set: all of them or nothing.

        The admin's document is the one that is written; the tenant's id is derived from the
        admin's, and the other documents are effects of that write. Refuses with `email_taken`.
        """
        creation = self._creations.begin("tenant", PLATFORM, key)
        password_hash = await self._passwords.hash(new.admin_password)

        async def create(admin_id: str) -> Agent:
            admin, others = self._compose(new, creation, admin_id, password_hash)
            return await self._directory.create(admin, also=others)

        admin = await create_claimed(self._claims, "email", new.admin_email, create)
        if admin.created_by != creation.created_by:
            raise RefusedError("email_taken")
        tenant = await self._directory.get(Tenant, admin.tenant, admin.tenant)
        return tenant, admin

    def _compose(
        self, new: NewTenant, creation: Creation, admin_id: str, password_hash: str
    ) -> tuple[Agent, tuple[Tenant, TenantPolicy]]:
        tenant_id = self._ids.of("tenant", admin_id)
        admin = Agent(
            id=admin_id,
            tenant=tenant_id,
            created_by=creation.created_by,
            created_at=creation.at,
            changed_at=creation.at,
            email=new.admin_email,
            name=new.admin_name,
            role=Role.ADMIN,
            password_hash=password_hash,
        )
        tenant = Tenant(
            id=tenant_id,
            tenant=tenant_id,
            created_by=creation.created_by,
            created_at=creation.at,
            changed_at=creation.at,
            name=new.name,
        )
        policy = TenantPolicy(
            id=tenant_id,
            tenant=tenant_id,
            created_by=creation.created_by,
            created_at=creation.at,
            changed_at=creation.at,
            policy=Policy(),
        )
        return admin, (tenant, policy)

    async def change(self, tenant_id: str, patch: TenantPatch) -> Tenant:
        """Renames, suspends or reactivates."""
        return await self._directory.change(
            Tenant, tenant_id, tenant_id, lambda tenant: replace(tenant, **patch)
        )

    async def erase(self, tenant_id: str) -> None:
        """Erases a tenant and everything of it; its agents are out at once."""
        await self._follow_ups.delete(Tenant, tenant_id, tenant_id)
