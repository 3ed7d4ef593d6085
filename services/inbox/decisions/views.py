"""Conversations and messages as REST and events show them: names joined from the directory.

Plain dicts for speed (a message costs one of each); tests hold them to `shared.contracts.views`.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any, Protocol

from services.inbox.model.conversation import (
    ContactSnapshot,
    Conversation,
    LastLine,
    Media,
    Message,
    SendFailure,
)
from services.inbox.model.events import ActorRef, Emitted
from shared.contracts.directory import NumberEntry, Policy
from shared.contracts.events import EventType
from shared.contracts.views import ActorKind

View = dict[str, Any]


class Names(Protocol):
    """The directory in memory: an id's present name, None where it is gone."""

    def agent_name(self, tenant: str, agent: str) -> str | None: ...

    def team_name(self, tenant: str, team: str) -> str | None: ...

    def label(self, tenant: str, label: str) -> tuple[str, str | None] | None: ...

    def number(self, tenant: str, number: str) -> NumberEntry | None: ...

    def policy(self, tenant: str) -> Policy: ...


@lru_cache(maxsize=4096)
def iso(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds and `Z`; `moment` must be in UTC.

    The offset is dropped first: asking MongoDB's own tzinfo for it costs three times the rest.
    """
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else iso(moment)


def conversation_view(it: Conversation, names: Names) -> View:
    tenant = it.tenant
    number = names.number(tenant, it.number_id)
    return {
        "id": it.id,
        "version": it.version,
        "status": it.status.value,
        "episode": it.episode,
        "epoch": it.epoch,
        "assignee": None
        if it.assignee is None
        else {"id": it.assignee, "name": names.agent_name(tenant, it.assignee)},
        "team": None
        if it.team is None
        else {"id": it.team, "name": names.team_name(tenant, it.team)},
        "number": {
            "id": it.number_id,
            "phone_number_id": number.phone_number_id if number else None,
            "display_phone_number": number.display_phone_number if number else None,
        },
        "contact": contact_view(it.contact),
        "labels": [label_view(tenant, label, names) for label in it.labels],
        "unread": it.unread,
        "last_message": _line_view(it.last_message),
        "opened_at": _iso(it.opened_at),
        "closed_at": _iso(it.closed_at),
        "waiting_since": _iso(it.waiting_since),
        "window_closes_at": _iso(it.window_closes_at),
        "updated_at": iso(it.updated_at),
        "priority": it.priority.value,
        "held_by_agent": it.held_by_agent,
        "snoozed_until": _iso(it.snoozed_until),
    }


def active_view(it: Conversation) -> View:
    """What routing rebuilds from: ids only."""
    return {
        "id": it.id,
        "tenant": it.tenant,
        "version": it.version,
        "status": it.status.value,
        "episode": it.episode,
        "epoch": it.epoch,
        "assignee": it.assignee,
        "team": it.team,
        "number": it.number_id,
        "waiting_since": _iso(it.waiting_since),
        "held_by_agent": it.held_by_agent,
        "snoozed_until": _iso(it.snoozed_until),
    }


def contact_view(it: ContactSnapshot) -> View:
    return {
        "id": it.id,
        "name": it.name,
        "wa_id": it.wa_id,
        "user_id": it.user_id,
        "username": it.username,
        "blocked": it.blocked,
    }


def label_view(tenant: str, label: str, names: Names) -> View:
    known = names.label(tenant, label)
    return {
        "id": label,
        "name": known[0] if known else None,
        "color": known[1] if known else None,
    }


def _line_view(it: LastLine | None) -> View | None:
    if it is None:
        return None
    return {
        "id": it.id,
        "seq": it.seq,
        "direction": it.direction,
        "type": it.type,
        "text": it.text,
        "at": iso(it.at),
        "status": None if it.status is None else it.status.value,
        "revoked": it.revoked,
    }


def message_view(it: Message, names: Names) -> View:
    author = it.author
    name = author.name
    if author.kind == "agent" and author.id is not None:
        name = names.agent_name(it.tenant, author.id) or name
    return {
        "id": it.id,
        "wamid": it.wamid,
        "conversation_id": it.conversation_id,
        "seq": it.seq,
        "direction": it.direction,
        "type": it.type,
        "text": it.text,
        "media": _media_view(it.media),
        "content": it.content or {},
        "reply_to": it.reply_to,
        "reactions": [
            {"by": {"kind": r.kind, "id": r.by}, "emoji": r.emoji} for r in it.reactions if r.emoji
        ],
        "edited": it.edited,
        "revoked": it.revoked,
        "sent_at": _iso(it.sent_at),
        "received_at": iso(it.received_at),
        "author": {"kind": author.kind, "id": author.id, "name": name},
        "client_id": it.client_id,
        "status": None if it.status is None else it.status.value,
        "error": _error_view(it.error),
        "asked_at": None if it.asked_at is None else iso(it.asked_at),
    }


def _media_view(it: Media | None) -> View | None:
    if it is None:
        return None
    return {
        "id": it.id,
        "mime_type": it.mime_type,
        "size": it.size,
        "sha256": it.sha256,
        "filename": it.filename,
        "voice": it.voice,
        "width": it.width,
        "height": it.height,
        "duration_ms": it.duration_ms,
        "state": it.state,
    }


def _error_view(it: SendFailure | None) -> View | None:
    return None if it is None else {"code": it.code, "title": it.title, "detail": it.detail}


def actor_view(tenant: str, actor: ActorRef, names: Names, contact: ContactSnapshot) -> View:
    name = None
    match actor.kind:
        case ActorKind.AGENT:
            name = names.agent_name(tenant, actor.id) if actor.id else None
        case ActorKind.CUSTOMER:
            return {"kind": actor.kind.value, "id": contact.id, "name": contact.name}
        case _:
            pass
    return {"kind": actor.kind.value, "id": actor.id, "name": name}


def event_view(event: Emitted, names: Names) -> View:
    """The payload of an event: `MessageEvent` or `ConversationEvent` of the contracts."""
    conversation = event.conversation
    before = event.before
    view: View = {
        "conversation": conversation_view(conversation, names),
        "before": {
            "status": None if before.status is None else before.status.value,
            "assignee": before.assignee,
            "team": before.team,
        },
    }
    if event.message is not None:
        view["message"] = message_view(event.message, names)
        return view
    view["actor"] = actor_view(conversation.tenant, event.actor, names, conversation.contact)
    view["by"] = None if event.by is None else event.by.value
    view["reason"] = event.reason
    view["explanation"] = event.explanation
    if event.details is not None:
        view["activity"] = {
            "id": activity_id(conversation.id, conversation.version),
            "version": conversation.version,
            "type": event.type.value,
            "at": iso(event.at),
            "actor": view["actor"],
            "data": activity_data(event, names),
        }
    return view


def activity_id(conversation: str, version: int) -> str:
    """A line of the internal log is known by the event that it tells of."""
    return f"{conversation}:{version}"


NOT_LOGGED = frozenset(
    {
        EventType.CONVERSATION_READ,
        EventType.CONVERSATION_UNREAD,
        EventType.CONVERSATION_UPDATED,
    }
)
"""Conversation events that leave no line in the internal log, unless they have details."""


def logged(event: Emitted) -> bool:
    """Whether the event is a line of the internal log."""
    return event.message is None and (event.type not in NOT_LOGGED or event.details is not None)


def activity_data(event: Emitted, names: Names) -> View:
    """What a line of the internal log tells beside its type and actor."""
    conversation = event.conversation
    tenant = conversation.tenant
    holder, team = conversation.assignee, conversation.team
    data: View = {
        "status": conversation.status.value,
        "episode": conversation.episode,
        "assignee": None
        if holder is None
        else {"id": holder, "name": names.agent_name(tenant, holder)},
        "team": None if team is None else {"id": team, "name": names.team_name(tenant, team)},
    }
    if event.by is not None:
        data["by"] = event.by.value
    if event.reason is not None:
        data["reason"] = event.reason
    if event.explanation is not None:
        data["explanation"] = event.explanation
    if event.details:
        data.update(event.details)
    return data
