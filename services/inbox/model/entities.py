"""The directory's entities: each is the head of its own log, with its own version."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from shared.contracts.directory import PLATFORM, EntityKind, Policy
from shared.contracts.views import Role

TenantStatus = Literal["active", "suspended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """What all entities have.

    `version` is that of the last change (0: not stored yet). `created_by` names the request that
    created it, so that a repeat recognises its own work. A deleted entity stays as a tombstone.
    """

    id: str
    tenant: str
    created_by: str
    created_at: datetime
    changed_at: datetime
    version: int = 0
    deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant(Entity):
    """`tenant` is its own id."""

    name: str
    status: TenantStatus = "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class Number(Entity):
    """`sealed` is the JSON of `shared.contracts.directory.Secrets`, sealed for this number."""

    phone_number_id: str
    sealed: str
    display_phone_number: str | None = None
    waba_id: str | None = None
    app_id: str | None = None
    team_id: str | None = None
    bot_webhook_url: str | None = None
    bot_silence_seconds: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent(Entity):
    """A person. `email` is folded, and does not change: it names the person on the platform."""

    email: str
    name: str
    role: Role
    password_hash: str
    team_ids: tuple[str, ...] = ()
    capacity: int = 5
    skills: tuple[str, ...] = ()
    available: bool = True
    tokens_valid_after: datetime | None = None
    revoked_sessions: dict[str, datetime] = field(default_factory=dict)
    """Since when; kept while an access token of the session may be alive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Team(Entity):
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(Entity):
    """A deleted label names who deleted it, and the one instead of it where it was merged."""

    name: str
    color: str | None = None
    merged_into: str | None = None
    deleted_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantPolicy(Entity):
    """One per tenant; its id is the tenant's."""

    policy: Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyset(Entity):
    """The public keys that sign access tokens; there is one, of the platform."""

    issuer: str
    keys: list[dict[str, Any]]


KINDS: dict[type[Entity], EntityKind] = {
    Tenant: EntityKind.TENANT,
    Number: EntityKind.NUMBER,
    Agent: EntityKind.AGENT,
    Team: EntityKind.TEAM,
    Label: EntityKind.LABEL,
    TenantPolicy: EntityKind.POLICY,
    Keyset: EntityKind.KEYSET,
}
CLASSES: dict[EntityKind, type[Entity]] = {kind: cls for cls, kind in KINDS.items()}

__all__ = [
    "CLASSES",
    "KINDS",
    "PLATFORM",
    "Agent",
    "Entity",
    "Keyset",
    "Label",
    "Number",
    "Team",
    "Tenant",
    "TenantPolicy",
    "TenantStatus",
]
