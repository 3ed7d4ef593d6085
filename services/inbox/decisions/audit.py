"""What a change of an entity says in the audit trail: what differs, and never a secret."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import Enum
from typing import Any

from services.inbox.model.api_keys import ApiKey
from services.inbox.model.audit import AuditActor, AuditRecord
from services.inbox.model.catalogue import CannedReply, CatalogueItem, CloseReason
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

# Only what is named here is shown: a new member is not, until somebody decided that it may be.
_SHOWN: dict[type[Entity], tuple[str, ...]] = {
    Tenant: ("name", "status"),
    Number: (
        "phone_number_id",
        "display_phone_number",
        "waba_id",
        "app_id",
        "team_id",
        "bot_silence_seconds",
    ),
    Agent: ("email", "name", "role", "team_ids", "capacity", "skills"),
    Team: ("name",),
    Label: ("name", "color", "merged_into"),
}
# The webhook of a bot may carry a token: it is sealed with the rest.
_SECRET: dict[type[Entity], dict[str, str]] = {
    Number: {"sealed": "credentials"},
    Agent: {"password_hash": "password"},
}


def audit_creation(entities: Iterable[Entity], actor: AuditActor) -> list[AuditRecord]:
    """The records of entities that begin to exist."""
    return [
        _record(entity, actor, "created", after=_shown(entity))
        for entity in entities
        if not isinstance(entity, TenantPolicy | Keyset)
    ]


def audit_change(before: Entity, after: Entity, actor: AuditActor) -> list[AuditRecord]:
    """The records of one version. An agent's own switch of availability is none."""
    if isinstance(after, Keyset):
        return []
    if after.deleted:
        return [_record(after, actor, "deleted", before=_shown(before))]
    old, new = _shown(before), _shown(after)
    differ = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    secrets = tuple(
        shown
        for name, shown in _SECRET.get(type(after), {}).items()
        if getattr(before, name) != getattr(after, name)
    )
    records = []
    if differ or secrets:
        records.append(
            _record(
                after,
                actor,
                "changed",
                before={name: old.get(name) for name in differ},
                after={name: new.get(name) for name in differ},
                secrets=secrets,
            )
        )
    if isinstance(before, Agent) and isinstance(after, Agent):
        records += _ended_sessions(before, after, actor, by_password="password" in secrets)
    return records


Setting = CatalogueItem | ApiKey
"""What an admin keeps and no other service is told of."""

_SETTINGS: dict[type[Setting], tuple[str, tuple[str, ...]]] = {
    CloseReason: ("close_reason", ("name",)),
    CannedReply: ("canned_reply", ("name", "text", "shortcut")),
    ApiKey: ("api_key", ("name", "scopes", "number_ids")),
}


def audit_setting(
    before: Setting | None, after: Setting | None, *, version: int, at: datetime, actor: AuditActor
) -> list[AuditRecord]:
    """The record of one version of a setting; None: it was not there before, or is not after."""
    one = after or before
    if one is None:
        return []
    kind, shown = _SETTINGS[type(one)]
    old, new = _members(before, shown), _members(after, shown)
    differ = [name for name in shown if old.get(name) != new.get(name)]
    verb = "created" if before is None else "deleted" if after is None else "changed"
    return [
        AuditRecord(
            id=f"{kind}:{one.id}:{version}",
            tenant=one.tenant,
            at=at,
            actor=actor,
            action=f"{kind}.{verb}",
            target=(kind, one.id),
            before={} if before is None else {name: old[name] for name in differ},
            after={} if after is None else {name: new[name] for name in differ},
        )
    ]


def _members(setting: Setting | None, shown: tuple[str, ...]) -> dict[str, Any]:
    return {} if setting is None else {name: _plain(getattr(setting, name)) for name in shown}


def _ended_sessions(
    before: Agent, after: Agent, actor: AuditActor, *, by_password: bool
) -> list[AuditRecord]:
    ended = [("session", each) for each in after.revoked_sessions.keys() - before.revoked_sessions]
    if before.tokens_valid_after != after.tokens_valid_after and not by_password:
        ended.append(("agent", after.id))
    return [
        AuditRecord(
            id=f"{after.id}:{after.version}:{identifier}",
            tenant=after.tenant,
            at=after.changed_at,
            actor=actor,
            action="session.revoked",
            target=(kind, identifier),
            after={"agent": after.id},
        )
        for kind, identifier in ended
    ]


def _record(entity: Entity, actor: AuditActor, verb: str, **members: Any) -> AuditRecord:
    kind = KINDS[type(entity)].value
    return AuditRecord(
        id=f"{kind}:{entity.id}:{entity.version}",
        tenant=entity.tenant,
        at=entity.changed_at,
        actor=actor,
        action=f"{kind}.{verb}",
        target=(kind, entity.id),
        **members,
    )


def _shown(entity: Entity) -> dict[str, Any]:
    if isinstance(entity, TenantPolicy):
        return entity.policy.model_dump(mode="json")
    shown = {name: _plain(getattr(entity, name)) for name in _SHOWN.get(type(entity), ("name",))}
    if isinstance(entity, Number):
        shown["bot"] = entity.bot_webhook_url is not None
    return shown


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, frozenset):
        return sorted(map(str, value))
    return list(value) if isinstance(value, tuple) else value
