from typing import Any

import orjson
import pytest

from services.routing.storage.directory import Directory
from shared.contracts.directory import (
    AgentEntry,
    EntityKind,
    Policy,
    PolicyEntry,
    TenantEntry,
    directory_key,
)
from shared.contracts.errors import PermanentError
from shared.contracts.records import InRecord
from shared.contracts.views import Role


def record(kind: EntityKind, entity: str, value: Any) -> InRecord:
    raw = None if value is None else orjson.dumps(value.model_dump(mode="json"))
    return InRecord("directory.v1", 0, 0, directory_key("acme", kind, entity), raw, (), 0)


def tenant(version: int = 1, status: Any = "active") -> InRecord:
    entry = TenantEntry(id="acme", version=version, name="Acme", status=status)
    return record(EntityKind.TENANT, "acme", entry)


def agent(version: int = 1, **over: Any) -> InRecord:
    fields = {"id": "ana", "tenant": "acme", "name": "Ana", "role": Role.AGENT} | over
    return record(EntityKind.AGENT, "ana", AgentEntry(version=version, **fields))


def policy(version: int, **over: Any) -> InRecord:
    entry = PolicyEntry(id="acme", tenant="acme", version=version, policy=Policy(**over))
    return record(EntityKind.POLICY, "acme", entry)


@pytest.fixture
def directory() -> Directory:
    made = Directory()
    made.apply(tenant())
    return made


def test_tenant_that_is_not_known_has_no_roster() -> None:
    assert Directory().roster("acme") is None


def test_new_tenant_is_routed_by_hand(directory: Directory) -> None:
    roster = directory.roster("acme")
    assert roster is not None
    assert (roster.active, roster.policy.strategy, dict(roster.agents)) == (True, "manual", {})


def test_last_state_of_each_counts(directory: Directory) -> None:
    directory.apply(agent(capacity=3, team_ids=["sales"], available=False))
    directory.apply(policy(1, strategy="least_busy", sticky=True))
    roster = directory.roster("acme")
    assert roster is not None
    ana = roster.agents["ana"]
    assert (ana.capacity, ana.teams, ana.available) == (3, frozenset({"sales"}), False)
    assert (roster.policy.strategy, roster.policy.sticky) == ("least_busy", True)


def test_older_entry_is_ignored(directory: Directory) -> None:
    directory.apply(agent(version=3, capacity=3))
    directory.apply(agent(version=2, capacity=2))
    directory.apply(policy(3, strategy="round_robin"))
    directory.apply(policy(2))
    directory.apply(tenant(version=3, status="suspended"))
    directory.apply(tenant(version=2))
    roster = directory.roster("acme")
    assert roster is not None
    assert roster.agents["ana"].capacity == 3
    assert (roster.active, roster.policy.strategy) == (False, "round_robin")


def test_tombstone_removes(directory: Directory) -> None:
    directory.apply(agent())
    directory.apply(policy(1, strategy="least_busy"))
    directory.apply(record(EntityKind.AGENT, "ana", None))
    directory.apply(record(EntityKind.POLICY, "acme", None))
    roster = directory.roster("acme")
    assert roster is not None
    assert (dict(roster.agents), roster.policy.strategy) == ({}, "manual")
    directory.apply(record(EntityKind.TENANT, "acme", None))
    assert directory.roster("acme") is None


def test_other_kinds_are_of_no_interest(directory: Directory) -> None:
    directory.apply(InRecord("t", 0, 0, b"acme/label/l", b"not json", (), 0))
    assert list(directory.tenants()) == ["acme"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param(None, b"{}", id="no key"),
        pytest.param(b"acme", b"{}", id="bad key"),
        pytest.param(b"acme/planet/x", b"{}", id="unknown kind"),
        pytest.param(b"acme/agent/x", b"not json", id="not JSON"),
        pytest.param(b"acme/agent/x", b"{}", id="no version"),
        pytest.param(b"acme/agent/x", b'{"version":1,"role":"pope"}', id="unknown role"),
        pytest.param(b"acme/policy/acme", b'{"version":1,"policy":{"strategy":"x"}}', id="policy"),
    ],
)
def test_entry_that_is_not_readable_is_permanent(key: bytes | None, value: bytes) -> None:
    with pytest.raises(PermanentError):
        Directory().apply(InRecord("directory.v1", 0, 0, key, value, (), 0))
