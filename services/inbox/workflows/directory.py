"""Teams, labels and the policy of a tenant."""

from __future__ import annotations

from dataclasses import replace
from typing import TypedDict

from services.inbox.model.entities import Label, Team, TenantPolicy
from services.inbox.model.errors import not_found
from services.inbox.storage.directory import DirectoryStore, E
from services.inbox.workflows.requests import Creations
from shared.contracts.directory import Policy


class LabelPatch(TypedDict, total=False):
    """The members of a label to replace; what is absent stays."""

    name: str
    color: str | None


class Directory:
    """Creates and changes the small entities."""

    def __init__(self, store: DirectoryStore, creations: Creations) -> None:
        self._store = store
        self._creations = creations

    async def create_team(self, tenant: str, name: str, key: str | None) -> Team:
        creation = self._creations.begin("team", tenant, key)
        return await self._create(
            Team(
                id=creation.id,
                tenant=tenant,
                created_by=creation.created_by,
                created_at=creation.at,
                changed_at=creation.at,
                name=name,
            )
        )

    async def rename_team(self, tenant: str, team_id: str, name: str | None) -> Team:
        """With name None nothing changes."""
        return await self._store.change(
            Team, tenant, team_id, lambda team: replace(team, name=name or team.name)
        )

    async def create_label(
        self, tenant: str, name: str, color: str | None, key: str | None
    ) -> Label:
        creation = self._creations.begin("label", tenant, key)
        return await self._create(
            Label(
                id=creation.id,
                tenant=tenant,
                created_by=creation.created_by,
                created_at=creation.at,
                changed_at=creation.at,
                name=name,
                color=color,
            )
        )

    async def change_label(self, tenant: str, label_id: str, patch: LabelPatch) -> Label:
        return await self._store.change(
            Label, tenant, label_id, lambda label: replace(label, **patch)
        )

    async def policy(self, tenant: str) -> Policy:
        found = await self._store.get(TenantPolicy, tenant, tenant)
        return found.policy

    async def set_policy(self, tenant: str, policy: Policy) -> Policy:
        found = await self._store.change(
            TenantPolicy, tenant, tenant, lambda held: replace(held, policy=policy)
        )
        return found.policy

    async def _create(self, entity: E) -> E:
        found = await self._store.create(entity)
        if found.deleted:  # a repeat of a creation that was undone since
            raise not_found()
        return found
