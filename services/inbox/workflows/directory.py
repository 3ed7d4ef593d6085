"""Teams, labels and the policy of a tenant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypedDict

from services.inbox.decisions.label_names import name_key
from services.inbox.model.entities import Label, Team, TenantPolicy
from services.inbox.model.errors import RefusedError, not_found
from services.inbox.storage.directory import DirectoryStore, E
from services.inbox.storage.label_names import LabelNames
from services.inbox.workflows.requests import Creations
from shared.contracts.directory import Policy


class LabelPatch(TypedDict, total=False):
    """The members of a label to replace; what is absent stays."""

    name: str
    color: str | None


class Directory:
    """Creates and changes the small entities."""

    def __init__(self, store: DirectoryStore, creations: Creations, names: LabelNames) -> None:
        self._store = store
        self._creations = creations
        self._names = names

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
        """Refuses with `label_taken`; what the key was answered with is not looked at again."""
        creation = self._creations.begin("label", tenant, key)
        if key is not None:
            made = await self._store.find(Label, tenant, creation.id)
            if made is not None:
                return made
        label = Label(
            id=creation.id,
            tenant=tenant,
            created_by=creation.created_by,
            created_at=creation.at,
            changed_at=creation.at,
            name=name,
            color=color,
        )
        async with self._naming(tenant, label.id, name):
            return await self._create(label)

    async def change_label(self, tenant: str, label_id: str, patch: LabelPatch) -> Label:
        """Replaces members. Refuses with `not_found`, `label_taken`."""

        def changed(held: Label) -> Label:
            return replace(held, **patch)

        if "name" not in patch:
            return await self._store.change(Label, tenant, label_id, changed)
        await self._store.get(Label, tenant, label_id)
        async with self._naming(tenant, label_id, patch["name"]):
            return await self._store.change(Label, tenant, label_id, changed)

    @asynccontextmanager
    async def _naming(self, tenant: str, label_id: str, name: str) -> AsyncIterator[None]:
        """While the label is given the name. Refuses with `label_taken`."""
        key = name_key(name)
        async with self._names.turn(tenant, key, label_id):
            async for other in self._store.every(Label, tenant):
                if other.id != label_id and name_key(other.name) == key:
                    raise RefusedError("label_taken")
            yield

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
