"""Tenants, agents and policies in memory, from the compacted topic."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from services.routing.model import Agent, Roster
from shared.contracts.directory import EntityKind as Kind
from shared.contracts.directory import Policy, split_directory_key
from shared.contracts.errors import PermanentError
from shared.contracts.records import InRecord
from shared.contracts.views import Role


class Directory:
    """What routing needs of directory.v1. An entry replaces an older version only."""

    def __init__(self) -> None:
        self._tenants: dict[str, tuple[int, bool]] = {}
        self._policies: dict[str, tuple[int, Policy]] = {}
        self._agents: dict[str, dict[str, Agent]] = {}

    def apply(self, record: InRecord) -> None:
        """Take one record. Raises PermanentError when it is not an entry."""
        if record.key is None:
            raise PermanentError("no_key")
        try:
            tenant, kind, entity = split_directory_key(record.key)
        except ValueError as bad:
            raise PermanentError("bad_key") from bad
        if kind not in (Kind.TENANT, Kind.AGENT, Kind.POLICY):
            return
        if record.value is None:
            self._remove(tenant, kind, entity)
            return
        try:
            self._put(tenant, kind, entity, orjson.loads(record.value))
        except (ValueError, KeyError, TypeError) as bad:
            raise PermanentError("bad_entry", type(bad).__name__) from bad

    def roster(self, tenant: str) -> Roster | None:
        """The tenant's agents and policy; None when it is not known (yet)."""
        entry = self._tenants.get(tenant)
        if entry is None:
            return None
        policy = self._policies.get(tenant)
        return Roster(
            active=entry[1],
            policy=Policy() if policy is None else policy[1],
            agents=self._agents.get(tenant, {}),
        )

    def tenants(self) -> Iterable[str]:
        """All known tenants, suspended ones too."""
        return tuple(self._tenants)

    def _remove(self, tenant: str, kind: Kind, entity: str) -> None:
        if kind is Kind.TENANT:
            self._tenants.pop(entity, None)
        elif kind is Kind.POLICY:
            self._policies.pop(tenant, None)
        else:
            self._agents.get(tenant, {}).pop(entity, None)

    def _put(self, tenant: str, kind: Kind, entity: str, entry: dict[str, object]) -> None:
        version = int(str(entry["version"]))
        if kind is Kind.TENANT:
            known = self._tenants.get(entity)
            if known is None or version > known[0]:
                self._tenants[entity] = (version, entry.get("status", "active") == "active")
        elif kind is Kind.POLICY:
            held = self._policies.get(tenant)
            if held is None or version > held[0]:
                self._policies[tenant] = (version, Policy.model_validate(entry["policy"]))
        else:
            agents = self._agents.setdefault(tenant, {})
            old = agents.get(entity)
            if old is None or version > old.version:
                agents[entity] = _agent(entity, version, entry)


def _agent(entity: str, version: int, entry: dict[str, object]) -> Agent:
    teams = entry.get("team_ids") or []
    if not isinstance(teams, list):
        raise TypeError("team_ids is not a list")
    return Agent(
        id=entity,
        version=version,
        role=Role(str(entry["role"])),
        teams=frozenset(str(team) for team in teams),
        capacity=int(str(entry.get("capacity", 5))),
        available=entry.get("available", True) is True,
    )
