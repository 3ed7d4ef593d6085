"""The account of one opening of a conversation, kept on it while it lasts. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from services.inbox.model.conversation import Conversation, Tenure
from services.inbox.model.episode import Episode
from services.inbox.model.events import Emitted
from shared.contracts.events import EventType
from shared.contracts.views import Status

TENURES_KEPT = 20
"""Of one episode: a chat that is passed on without end keeps its document small."""


def waited_until(conversation: Conversation, at: datetime) -> int:
    """Milliseconds On Hold in the present episode up to a moment."""
    since = conversation.waiting_since
    if since is None:
        return conversation.waited_ms
    return conversation.waited_ms + max(0, int((at - since).total_seconds() * 1000))


def wait_resumed(conversation: Conversation, at: datetime) -> dict[str, Any]:
    """The members of a conversation whose wait goes on: its holder took it and was lost.

    The customer has waited all the time, so the wait that was counted is taken back.
    """
    since = conversation.waited_since
    if since is None:
        return {"waiting_since": at}
    taken_at = conversation.tenures[-1].since if conversation.tenures else at
    counted = max(0, int((taken_at - since).total_seconds() * 1000))
    return {"waiting_since": since, "waited_ms": max(0, conversation.waited_ms - counted)}


def let_go(conversation: Conversation, at: datetime) -> tuple[Tenure, ...]:
    """The tenures when whoever holds it holds it no more."""
    held = conversation.tenures
    if not held or held[-1].until is not None:
        return held
    return (*held[:-1], replace(held[-1], until=at))


def taken(conversation: Conversation, agent: str, at: datetime) -> tuple[Tenure, ...]:
    """The tenures when an agent takes it."""
    return (*conversation.tenures, Tenure(agent, at))[-TENURES_KEPT:]


def present_episode(conversation: Conversation, now: datetime) -> Episode | None:
    """The account up to now; None where it was never open, or what it is of is closed."""
    if conversation.status is Status.CLOSED:
        return None
    return _account(conversation, now)


def ended_episode(event: Emitted) -> Episode | None:
    """The account that an event closes, None for every other event."""
    closes = event.type is EventType.CONVERSATION_CLOSED or (
        event.type is EventType.CONVERSATION_DELETED and event.before.status is not Status.CLOSED
    )
    found = _account(event.conversation, event.at) if closes else None
    if found is None:
        return None
    reason = "deleted" if event.type is EventType.CONVERSATION_DELETED else event.reason
    return replace(found, closed_at=event.at, closed_by=event.actor, reason=reason)


def _account(conversation: Conversation, at: datetime) -> Episode | None:
    if conversation.opened_at is None:
        return None
    return Episode(
        id=f"{conversation.id}:{conversation.episode}",
        tenant=conversation.tenant,
        conversation=conversation.id,
        number=conversation.episode,
        number_id=conversation.number_id,
        contact=conversation.contact.id,
        team=conversation.team,
        opened_at=conversation.opened_at,
        first_response_at=conversation.first_response_at,
        waiting=timedelta(milliseconds=waited_until(conversation, at)),
        holders=conversation.tenures,
    )
