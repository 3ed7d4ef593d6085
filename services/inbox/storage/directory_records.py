"""Entities as the records that tell everybody of them."""

from __future__ import annotations

from services.inbox.model.entities import (
    KINDS,
    Agent,
    Entity,
    Keyset,
    Label,
    Number,
    Team,
    Tenant,
    TenantPolicy,
)
from shared.contracts.base import Payload
from shared.contracts.directory import (
    CREDENTIALS_TYPE,
    AgentEntry,
    CredentialsEntry,
    EntityKind,
    KeysetEntry,
    LabelEntry,
    NumberEntry,
    PolicyEntry,
    TeamEntry,
    TenantEntry,
    directory_key,
)
from shared.contracts.envelope import Envelope, timestamp
from shared.contracts.events import AgentAvailability, EventType
from shared.contracts.topics import AGENT_EVENTS, CREDENTIALS, DIRECTORY
from shared.mongo.headlog import LogRecord

SOURCE = "inbox"


def entry_of(entity: Entity) -> Payload:
    """The directory entry of an entity, without anything that is secret."""
    match entity:
        case Tenant():
            return TenantEntry(
                id=entity.id, version=entity.version, name=entity.name, status=entity.status
            )
        case Number():
            return NumberEntry(
                id=entity.id,
                tenant=entity.tenant,
                version=entity.version,
                phone_number_id=entity.phone_number_id,
                display_phone_number=entity.display_phone_number,
                waba_id=entity.waba_id,
                app_id=entity.app_id,
                team_id=entity.team_id,
                bot=entity.bot_webhook_url is not None,
                bot_silence_seconds=entity.bot_silence_seconds,
            )
        case Agent():
            return AgentEntry(
                id=entity.id,
                tenant=entity.tenant,
                version=entity.version,
                name=entity.name,
                role=entity.role,
                team_ids=list(entity.team_ids),
                capacity=entity.capacity,
                skills=list(entity.skills),
                available=entity.available,
                tokens_valid_after=entity.tokens_valid_after,
                revoked_sessions=list(entity.revoked_sessions),
            )
        case Team():
            return TeamEntry(
                id=entity.id, tenant=entity.tenant, version=entity.version, name=entity.name
            )
        case Label():
            return LabelEntry(
                id=entity.id,
                tenant=entity.tenant,
                version=entity.version,
                name=entity.name,
                color=entity.color,
            )
        case TenantPolicy():
            return PolicyEntry(
                id=entity.id, tenant=entity.tenant, version=entity.version, policy=entity.policy
            )
        case Keyset():
            return KeysetEntry(
                id=entity.id, version=entity.version, issuer=entity.issuer, keys=entity.keys
            )
        case _:
            raise TypeError(type(entity).__name__)


def records_of(entity: Entity, *, before: Entity | None = None) -> tuple[LogRecord, ...]:
    """Every record of an entity's present version; the directory's own comes first.

    `before` is the state that this version replaced; with None only the state itself is told.
    """
    records = [_directory_record(entity)]
    if isinstance(entity, Number):
        records.append(_credentials_record(entity))
    if (
        isinstance(entity, Agent)
        and isinstance(before, Agent)
        and not entity.deleted
        and entity.available != before.available
    ):
        records.append(_availability_record(entity))
    return tuple(records)


def _envelope(entity: Entity, kind: str, event_id: str) -> Envelope:
    return Envelope(
        id=event_id,
        type=kind,
        source=SOURCE,
        time=timestamp(entity.changed_at),
        tenant=entity.tenant,
        subject=entity.id,
        sequence=entity.version,
    )


def _directory_record(entity: Entity) -> LogRecord:
    kind: EntityKind = KINDS[type(entity)]
    value = None if entity.deleted else entry_of(entity).model_dump_json().encode()
    return LogRecord(
        topic=DIRECTORY,
        key=directory_key(entity.tenant, kind, entity.id).decode(),
        value=value,
        envelope=_envelope(
            entity, f"directory.{kind.value}", f"{kind.value}:{entity.id}:{entity.version}"
        ),
    )


def _credentials_record(number: Number) -> LogRecord:
    entry = CredentialsEntry(
        number_id=number.id,
        tenant=number.tenant,
        version=number.version,
        phone_number_id=number.phone_number_id,
        sealed=number.sealed,
    )
    return LogRecord(
        topic=CREDENTIALS,
        key=number.id,
        value=None if number.deleted else entry.model_dump_json().encode(),
        envelope=_envelope(number, CREDENTIALS_TYPE, f"credentials:{number.id}:{number.version}"),
    )


def _availability_record(agent: Agent) -> LogRecord:
    event = AgentAvailability(agent_id=agent.id, available=agent.available, at=agent.changed_at)
    return LogRecord(
        topic=AGENT_EVENTS,
        key=agent.id,
        value=event.model_dump_json().encode(),
        envelope=_envelope(
            agent, EventType.AGENT_AVAILABILITY.value, f"{agent.id}:{agent.version}"
        ),
    )
