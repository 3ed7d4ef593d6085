"""The whole directory in memory: names are joined from it, and every request is judged by it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TypeVar

from pydantic import ValidationError

from shared.contracts.base import Payload
from shared.contracts.directory import (
    ENTRIES,
    PLATFORM,
    AgentEntry,
    EntityKind,
    KeysetEntry,
    LabelEntry,
    NumberEntry,
    Policy,
    PolicyEntry,
    TeamEntry,
    TenantEntry,
    split_directory_key,
)
from shared.contracts.errors import PermanentError
from shared.contracts.records import InRecord

P = TypeVar("P", bound=Payload)
Place = tuple[EntityKind, str, str]
"""Kind, tenant and id."""
_MANUAL = Policy()


class DirectoryView:
    """Fed by directory.v1, and at once by what this process writes. Lookups never wait.

    Only a version above the one held is taken. `behind` collects entities for which the topic
    went back to an older version: compaction would keep that one, so it must be told again.
    """

    def __init__(self) -> None:
        self._entries: dict[Place, Payload] = {}
        self._held: dict[Place, int] = {}
        self._told: dict[Place, int] = {}
        self._agents: defaultdict[str, dict[str, AgentEntry]] = defaultdict(dict)
        self._numbers: dict[str, NumberEntry] = {}
        self.behind: set[Place] = set()

    # -- feeding

    def apply(self, record: InRecord) -> None:
        """Takes a record of directory.v1. Raises PermanentError for one that is not of it."""
        try:
            tenant, kind, entity_id = split_directory_key(record.key or b"")
            place = (kind, tenant, entity_id)
            version = int(dict(record.headers)["ce_sequence"])
            entry = (
                None if record.value is None else ENTRIES[kind].model_validate_json(record.value)
            )
        except (ValueError, KeyError, ValidationError) as bad:
            raise PermanentError("bad_directory_record") from bad
        if version < self._told.get(place, 0):
            self.behind.add(place)
        else:
            self._told[place] = version
        self.put(place, version, entry)

    def put(self, place: Place, version: int, entry: Payload | None) -> None:
        """Takes a state (None: removed) unless a newer one is held."""
        if version <= self._held.get(place, 0):
            return
        self._held[place] = version
        kind, tenant, entity_id = place
        before = self._entries.pop(place, None)
        if isinstance(before, NumberEntry):
            held = self._numbers.get(before.phone_number_id)
            # The same number may already be there again under a new id.
            if held is not None and held.id == before.id:
                del self._numbers[before.phone_number_id]
        if entry is None:
            if kind is EntityKind.AGENT:
                self._agents[tenant].pop(entity_id, None)
            return
        self._entries[place] = entry
        if isinstance(entry, AgentEntry):
            self._agents[tenant][entity_id] = entry
        elif isinstance(entry, NumberEntry):
            self._numbers[entry.phone_number_id] = entry

    def told(self, place: Place) -> int:
        """The version that the topic has of an entity; 0 for none."""
        return self._told.get(place, 0)

    # -- lookups

    def _get(self, kind: EntityKind, tenant: str, entity_id: str, expected: type[P]) -> P | None:
        entry = self._entries.get((kind, tenant, entity_id))
        return entry if isinstance(entry, expected) else None

    def tenant(self, tenant: str) -> TenantEntry | None:
        return self._get(EntityKind.TENANT, tenant, tenant, TenantEntry)

    def number(self, tenant: str, number_id: str) -> NumberEntry | None:
        return self._get(EntityKind.NUMBER, tenant, number_id, NumberEntry)

    def numbers(self, tenant: str) -> tuple[NumberEntry, ...]:
        """All numbers of a tenant, in no order."""
        return tuple(each for each in self._numbers.values() if each.tenant == tenant)

    def agent(self, tenant: str, agent_id: str) -> AgentEntry | None:
        return self._get(EntityKind.AGENT, tenant, agent_id, AgentEntry)

    def agents(self, tenant: str) -> Iterable[AgentEntry]:
        """All agents of a tenant, in no order."""
        return tuple(self._agents.get(tenant, {}).values())

    def members(self, tenant: str, team_id: str) -> tuple[AgentEntry, ...]:
        """The agents of a team, in no order."""
        return tuple(a for a in self.agents(tenant) if team_id in a.team_ids)

    def team(self, tenant: str, team_id: str) -> TeamEntry | None:
        return self._get(EntityKind.TEAM, tenant, team_id, TeamEntry)

    def label(self, tenant: str, label_id: str) -> LabelEntry | None:
        return self._get(EntityKind.LABEL, tenant, label_id, LabelEntry)

    def policy(self, tenant: str) -> Policy:
        """The tenant's policy; the one of a new tenant while none is known."""
        entry = self._get(EntityKind.POLICY, tenant, tenant, PolicyEntry)
        return _MANUAL if entry is None else entry.policy

    def keyset(self) -> KeysetEntry | None:
        return self._get(EntityKind.KEYSET, PLATFORM, PLATFORM, KeysetEntry)
