"""The directory's entities, credentials, and what agents do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from services.inbox.model.entities import (
    Agent,
    Entity,
    Keyset,
    Label,
    Number,
    Team,
    Tenant,
    TenantPolicy,
)
from services.inbox.storage.directory_records import records_of
from services.notifier.model import PresenceState
from services.notifier.workflows.presence import presence_record
from shared.contracts.directory import PLATFORM, Policy
from shared.contracts.records import OutRecord
from shared.contracts.topics import AGENT_EVENTS
from shared.contracts.views import Role

AT = datetime(2026, 6, 1, 11, 0, tzinfo=UTC)
BASE: dict[str, Any] = {
    "tenant": "tenant-1",
    "created_by": "request-1",
    "created_at": AT,
    "changed_at": AT,
    "version": 1,
}


def agent(version: int = 1, *, available: bool = True) -> Agent:
    return Agent(
        **BASE | {"version": version},
        id="agent-1",
        email="ana@example.test",
        name="Ana Agent",
        role=Role.AGENT,
        password_hash="never told",
        team_ids=("team-1",),
        skills=("spanish",),
        available=available,
        tokens_valid_after=AT,
    )


def number(*, deleted: bool = False) -> Number:
    return Number(
        **BASE,
        id="number-1",
        deleted=deleted,
        phone_number_id="200000000000001",
        sealed="c2VhbGVk",
        display_phone_number="+1 202-555-0100",
        waba_id="100000000000001",
        team_id="team-1",
        bot_webhook_url="https://bot.example.test/hook",
    )


def entities() -> list[Entity]:
    return [
        Tenant(**BASE | {"tenant": "tenant-1"}, id="tenant-1", name="Acme"),
        number(),
        agent(),
        Team(**BASE, id="team-1", name="Sales"),
        Label(**BASE, id="label-1", name="VIP", color="#ffcc00"),
        TenantPolicy(**BASE, id="tenant-1", policy=Policy(strategy="least_busy", sticky=True)),
        Keyset(
            **BASE | {"tenant": PLATFORM},
            id="keys",
            issuer="https://inbox.example.test",
            keys=[{"kty": "OKP", "crv": "Ed25519", "kid": "key-1", "x": "AAAA"}],
        ),
    ]


def directory_records() -> list[OutRecord]:
    return [record.out() for entity in entities() for record in records_of(entity)]


def tombstones() -> list[OutRecord]:
    """A deleted number: gone from the directory and from the credentials."""
    return [record.out() for record in records_of(number(deleted=True))]


def agent_records() -> list[OutRecord]:
    told = records_of(agent(2, available=False), before=agent())
    presence = PresenceState(
        tenant="tenant-1", agent="agent-1", present=True, counter=7, since=AT.timestamp() + 0.25
    )
    return [
        *(record.out() for record in told if record.topic is AGENT_EVENTS),
        presence_record(presence),
    ]
