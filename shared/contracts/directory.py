"""The compacted topics: who and what there is, in its last state.

Key on directory.v1: `directory_key(tenant, kind, id)`. `ce_type` is `directory.<kind>`,
`ce_sequence` the entity's version: readers drop what is not above what they hold. A tombstone
(null value, the same headers) removes the entity. Key on credentials.v1: the number's id.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from shared.contracts.base import Payload, Time
from shared.contracts.hours import BusinessHours
from shared.contracts.views import Role

PLATFORM = "platform"
"""Stands for the tenant in entries that belong to the whole installation."""


class EntityKind(StrEnum):
    """What a directory entry is about."""

    TENANT = "tenant"
    NUMBER = "number"
    AGENT = "agent"
    TEAM = "team"
    LABEL = "label"
    POLICY = "policy"
    KEYSET = "keyset"


def directory_key(tenant: str, kind: EntityKind, entity_id: str) -> bytes:
    """The record key: `<tenant>/<kind>/<id>`."""
    return f"{tenant}/{kind.value}/{entity_id}".encode()


def split_directory_key(key: bytes) -> tuple[str, EntityKind, str]:
    """Tenant, kind and id of a record key. Raises ValueError."""
    tenant, kind, entity_id = key.decode().split("/", 2)
    return tenant, EntityKind(kind), entity_id


class TenantEntry(Payload):
    id: str
    version: int
    name: str
    status: Literal["active", "suspended"] = "active"


class NumberEntry(Payload):
    """A WhatsApp number. `app_id` None: it belongs to the platform's own Meta app."""

    id: str
    tenant: str
    version: int
    phone_number_id: str
    display_phone_number: str | None = None
    waba_id: str | None = None
    app_id: str | None = None
    team_id: str | None = None
    bot: bool = False
    bot_silence_seconds: int = 60


class AgentEntry(Payload):
    """`tokens_valid_after`: tokens issued before are revoked, sockets that use them close 4401.

    The same goes for tokens whose `sid` is one of `revoked_sessions`; a session is named there for
    as long as a token of it may live.
    """

    id: str
    tenant: str
    version: int
    name: str
    role: Role
    team_ids: list[str] = []
    capacity: int = 5
    skills: list[str] = []
    available: bool = True
    tokens_valid_after: Time | None = None
    revoked_sessions: list[str] = []


class TeamEntry(Payload):
    id: str
    tenant: str
    version: int
    name: str


class LabelEntry(Payload):
    id: str
    tenant: str
    version: int
    name: str
    color: str | None = None


class Policy(Payload):
    """How a tenant's chats are given to agents. A new tenant starts with `manual`."""

    strategy: Literal["manual", "least_busy", "round_robin"] = "manual"
    sticky: bool = False
    presence_grace_seconds: int = Field(default=45, ge=0, le=86_400)
    window_warning_minutes: int = Field(default=60, ge=0, le=1_440)
    business_hours: BusinessHours | None = None


class PolicyEntry(Payload):
    """One per tenant; its id is the tenant's."""

    id: str
    tenant: str
    version: int
    policy: Policy


class KeysetEntry(Payload):
    """The public keys (JWKS) that sign access tokens; tenant is `platform`."""

    id: str
    version: int
    issuer: str
    keys: list[dict[str, Any]]


ENTRIES: dict[EntityKind, type[Payload]] = {
    EntityKind.TENANT: TenantEntry,
    EntityKind.NUMBER: NumberEntry,
    EntityKind.AGENT: AgentEntry,
    EntityKind.TEAM: TeamEntry,
    EntityKind.LABEL: LabelEntry,
    EntityKind.POLICY: PolicyEntry,
    EntityKind.KEYSET: KeysetEntry,
}


CREDENTIALS_TYPE = "credentials.number"


class CredentialsEntry(Payload):
    """The secrets of one number, sealed.

    `sealed` is base64 of AES-GCM (`shared.sealing`), bound to `number_id`; the plain text is the
    JSON of `Secrets`.
    """

    number_id: str
    tenant: str
    version: int
    phone_number_id: str
    sealed: str


class AppSecrets(Payload):
    """A tenant's own Meta app."""

    id: str
    secret: str
    verify_token: str


class Secrets(Payload):
    """What `CredentialsEntry.sealed` holds.

    `bot_secret` (`whsec_...`) signs what the bot is told; the former one signs too until
    `bot_former_until`, so that a bot can change over.
    """

    access_token: str
    app: AppSecrets | None = None
    bot_webhook_url: str | None = None
    bot_secret: str | None = None
    bot_former_secret: str | None = None
    bot_former_until: Time | None = None
