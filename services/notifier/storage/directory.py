"""The directory in memory: tenants, agents, teams and the keys that sign tokens."""

from __future__ import annotations

from dataclasses import replace

import orjson
from pydantic import ValidationError

from services.notifier.decisions.tokens import VerificationKey, parse_keys
from services.notifier.model import Agent
from shared.contracts.directory import (
    AgentEntry,
    EntityKind,
    KeysetEntry,
    TenantEntry,
    split_directory_key,
)
from shared.contracts.envelope import read_envelope
from shared.contracts.errors import PermanentError
from shared.contracts.records import InRecord

_KINDS = frozenset((EntityKind.TENANT, EntityKind.AGENT, EntityKind.TEAM, EntityKind.KEYSET))


class Directory:
    """What directory.v1 says, as far as the notifier needs it; fed by a CompactedTable."""

    def __init__(self) -> None:
        self._versions: dict[bytes, int] = {}
        self._active: dict[str, bool] = {}
        self._agents: dict[tuple[str, str], Agent] = {}
        self._teams: dict[str, set[str]] = {}
        self._keysets: dict[str, tuple[VerificationKey, ...]] = {}
        self._keys: tuple[VerificationKey, ...] = ()

    @property
    def keys(self) -> tuple[VerificationKey, ...]:
        """The keys that tokens may be signed with."""
        return self._keys

    def agent(self, tenant: str, agent: str) -> Agent | None:
        """An agent of a tenant."""
        found = self._agents.get((tenant, agent))
        if found is None or not found.supervises:
            return found
        return replace(found, others=tuple(self._teams.get(tenant, ())))

    def tenant_active(self, tenant: str) -> bool:
        """Whether a tenant exists and is not suspended."""
        return self._active.get(tenant, False)

    def apply(self, record: InRecord) -> None:
        """Take one record over. Raises PermanentError for one that is not readable."""
        if record.key is None:
            raise PermanentError("no_key")
        try:
            tenant, kind, entity = split_directory_key(record.key)
        except ValueError as error:
            raise PermanentError("bad_key") from error
        if kind not in _KINDS:
            return
        version = read_envelope(record.headers).sequence
        if version is not None:
            if version <= self._versions.get(record.key, -1):
                return
            self._versions[record.key] = version
        try:
            self._take(tenant, kind, entity, record.value)
        except (ValidationError, orjson.JSONDecodeError) as error:
            raise PermanentError("bad_entry", kind.value) from error

    def _take(self, tenant: str, kind: EntityKind, entity: str, value: bytes | None) -> None:
        match kind:
            case EntityKind.TENANT:
                self._take_tenant(entity, value)
            case EntityKind.AGENT:
                self._take_agent(tenant, entity, value)
            case EntityKind.TEAM:
                self._take_team(tenant, entity, value)
            case _:
                self._take_keyset(entity, value)

    def _take_tenant(self, entity: str, value: bytes | None) -> None:
        if value is None:
            self._active.pop(entity, None)
        else:
            status = TenantEntry.model_validate(orjson.loads(value)).status
            self._active[entity] = status == "active"

    def _take_agent(self, tenant: str, entity: str, value: bytes | None) -> None:
        if value is None:
            self._agents.pop((tenant, entity), None)
            return
        entry = AgentEntry.model_validate(orjson.loads(value))
        after = entry.tokens_valid_after
        self._agents[tenant, entity] = Agent(
            tenant=tenant,
            id=entity,
            name=entry.name,
            role=entry.role,
            teams=tuple(entry.team_ids),
            valid_after=0.0 if after is None else after.timestamp(),
            revoked=frozenset(entry.revoked_sessions),
        )

    def _take_team(self, tenant: str, entity: str, value: bytes | None) -> None:
        teams = self._teams.setdefault(tenant, set())
        if value is None:
            teams.discard(entity)
        else:
            teams.add(entity)

    def _take_keyset(self, entity: str, value: bytes | None) -> None:
        if value is None:
            self._keysets.pop(entity, None)
        else:
            entry = KeysetEntry.model_validate(orjson.loads(value))
            self._keysets[entity] = parse_keys(entry.issuer, entry.keys)
        self._keys = tuple(key for keys in self._keysets.values() for key in keys)
