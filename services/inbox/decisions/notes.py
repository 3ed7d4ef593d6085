"""What agents tell each other in a chat, how urgent it is, and when it is wanted again. Pure.

All three are `conversation.updated` with a line in the internal log, whose `kind` says what.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from services.inbox.decisions.admission import NOT_FOUND, invalid_transition, not_holder, present
from services.inbox.decisions.lifecycle import Refusal, Viewer, holds
from services.inbox.decisions.listing import SNOOZABLE
from services.inbox.model.conversation import Conversation
from shared.contracts.views import Status

LONGEST_SNOOZE = timedelta(days=366)


def judge_note(
    conversation: Conversation | None, viewer: Viewer, *, epoch: int | None, whisper: bool
) -> Refusal | None:
    """Whoever sees a chat may note. A whisper is a supervisor's, to the holder of an open chat."""
    refusal = present(conversation, viewer, epoch)
    if refusal is not None or conversation is None:
        return refusal or NOT_FOUND
    if not whisper:
        return None
    if not viewer.supervises:
        return Refusal("forbidden")
    return None if conversation.status is Status.OPEN else invalid_transition(conversation)


def may_read(data: dict[str, Any], viewer: Viewer) -> bool:
    """Whether a line of the internal log is for the viewer: a whisper is for one alone."""
    to = data.get("to")
    return to is None or viewer.supervises or bool(to["id"] == viewer.agent)


def judge_priority(
    conversation: Conversation | None, viewer: Viewer, *, epoch: int | None
) -> Refusal | None:
    """The holder of an open chat, whoever sees another, and supervisors."""
    refusal = present(conversation, viewer, epoch)
    if refusal is not None or conversation is None:
        return refusal or NOT_FOUND
    if conversation.status is not Status.OPEN or viewer.supervises or holds(conversation, viewer):
        return None
    return not_holder(conversation)


def judge_snooze(
    conversation: Conversation | None, viewer: Viewer, *, epoch: int | None
) -> Refusal | None:
    """The same; only what is open or On Hold sleeps."""
    refusal = judge_priority(conversation, viewer, epoch=epoch)
    if refusal is not None or conversation is None:
        return refusal or NOT_FOUND
    return None if conversation.status in SNOOZABLE else invalid_transition(conversation)


def wrong_end(until: datetime, now: datetime) -> str | None:
    """Why a snooze cannot end then, as a code of a field."""
    if until <= now:
        return "too_small"
    return "too_large" if until > now + LONGEST_SNOOZE else None
