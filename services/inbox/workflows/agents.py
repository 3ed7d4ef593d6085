"""Agents and teams, as the tenant's admin keeps them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypedDict

from services.inbox.decisions.lockout import Counted
from services.inbox.model.entities import Agent, Team
from services.inbox.model.errors import RefusedError, invalid
from services.inbox.storage.claims import Claims
from services.inbox.storage.directory import DirectoryStore
from services.inbox.storage.passwords import Passwords
from services.inbox.storage.sessions import FailureStore
from services.inbox.workflows.follow_ups import FollowUps
from services.inbox.workflows.requests import Creations, create_claimed
from shared.contracts.views import Role


@dataclass(frozen=True, slots=True)
class NewAgent:
    """An agent to create; `email` is folded."""

    email: str
    name: str
    password: str
    role: Role
    team_ids: tuple[str, ...] = ()
    capacity: int = 5
    skills: tuple[str, ...] = ()


class AgentPatch(TypedDict, total=False):
    """The members of an agent to replace; what is absent stays."""

    name: str
    password: str
    role: Role
    team_ids: list[str]
    capacity: int
    skills: list[str]
    available: bool


class Agents:
    """Creates and changes agents."""

    def __init__(
        self,
        directory: DirectoryStore,
        claims: Claims,
        passwords: Passwords,
        creations: Creations,
        failures: FailureStore,
        *,
        follow_ups: FollowUps,
        clock: Callable[[], datetime],
    ) -> None:
        self._directory = directory
        self._claims = claims
        self._passwords = passwords
        self._creations = creations
        self._failures = failures
        self._follow_ups = follow_ups
        self._clock = clock

    async def create(self, tenant: str, new: NewAgent, key: str | None) -> Agent:
        """Refuses with `email_taken`, or `validation` for a team that is not there."""
        await self._require_teams(tenant, new.team_ids)
        creation = self._creations.begin("agent", tenant, key)
        password_hash = await self._passwords.hash(new.password)

        async def create(agent_id: str) -> Agent:
            return await self._directory.create(
                Agent(
                    id=agent_id,
                    tenant=tenant,
                    created_by=creation.created_by,
                    created_at=creation.at,
                    changed_at=creation.at,
                    email=new.email,
                    name=new.name,
                    role=new.role,
                    password_hash=password_hash,
                    team_ids=new.team_ids,
                    capacity=new.capacity,
                    skills=new.skills,
                )
            )

        found = await create_claimed(self._claims, "email", new.email, create)
        if found.created_by != creation.created_by:
            raise RefusedError("email_taken")
        return found

    async def change(self, tenant: str, agent_id: str, patch: AgentPatch) -> Agent:
        """Replaces members. A new password revokes every token issued before, and ends a lock.

        Refuses with `not_found`, `last_admin`, or `validation` for a team that is not there.
        """
        await self._require_teams(tenant, patch.get("team_ids", ()))
        if patch.get("role", Role.ADMIN) is not Role.ADMIN:
            await self._require_another_admin(tenant, agent_id)
        members: dict[str, Any] = {k: v for k, v in patch.items() if k != "password"}
        for name in ("team_ids", "skills"):
            if name in members:
                members[name] = tuple(members[name])
        if "password" in patch:
            members["password_hash"] = await self._passwords.hash(patch["password"])

        def changed(agent: Agent) -> Agent:
            if "password" in patch:
                # With the change, not before: sessions that begin meanwhile are to end too.
                members["tokens_valid_after"] = self._clock()
            return replace(agent, **members)

        agent = await self._directory.change(Agent, tenant, agent_id, changed)
        if "password" in patch:
            await self._failures.clear(Counted.EMAIL, agent.email)
        return agent

    async def delete(self, tenant: str, agent_id: str) -> None:
        """Deletes an agent; their chats go On Hold. Refuses with `not_found`, `last_admin`."""
        await self._require_another_admin(tenant, agent_id)
        await self._follow_ups.delete(Agent, tenant, agent_id)

    async def _require_another_admin(self, tenant: str, agent_id: str) -> None:
        """Two who take it from each other at once may both: the platform makes a new one."""
        agent = await self._directory.get(Agent, tenant, agent_id)
        if agent.role is not Role.ADMIN:
            return
        async for other in self._directory.every(Agent, tenant):
            if other.role is Role.ADMIN and other.id != agent_id:
                return
        raise RefusedError("last_admin")

    async def _require_teams(self, tenant: str, team_ids: Iterable[str]) -> None:
        for team_id in team_ids:
            if await self._directory.find(Team, tenant, team_id) is None:
                raise invalid("team_ids", "unknown")
