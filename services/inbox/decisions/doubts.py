"""Sends of which nobody knows the outcome, until it is settled or an agent is asked. Pure.

Their conversation keeps each with the time of the question; without any it keeps nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from services.inbox.model.conversation import Conversation, Doubt, Message
from shared.contracts.views import MessageStatus
from shared.value import evolve

UNKNOWN_GRACE = timedelta(seconds=60)
"""How long a late answer or a status is waited for."""
_ASKED_AT_ONCE = 16
"""Each question repeats its message, and a change must fit into one document."""
_UNKNOWN = MessageStatus.UNKNOWN


def followed(
    conversation: Conversation, before: Message, after: Message, ask_at: datetime
) -> Conversation:
    """The conversation once a fact changed its message: each unknown attempt is doubted once."""
    if after.status is not _UNKNOWN:
        return without_doubt(conversation, after.id)
    if (before.status, before.attempt) == (_UNKNOWN, after.attempt):
        return conversation
    others = without_doubt(conversation, after.id)
    return evolve(others, doubts=(*others.doubts, Doubt(after.id, ask_at)))


def without_doubt(conversation: Conversation, *message_ids: str) -> Conversation:
    """The conversation with nobody to ask about some messages (any more)."""
    if not conversation.doubts:
        return conversation
    left = tuple(doubt for doubt in conversation.doubts if doubt.message_id not in message_ids)
    return evolve(conversation, doubts=left)


def next_question(conversation: Conversation) -> datetime | None:
    """When the first question is due."""
    return min((doubt.ask_at for doubt in conversation.doubts), default=None)


def questions(conversation: Conversation, now: datetime) -> tuple[str, ...]:
    """The messages that an agent is to be asked about now; what is more waits for the next look."""
    due = (doubt.message_id for doubt in conversation.doubts if doubt.ask_at <= now)
    return tuple(due)[:_ASKED_AT_ONCE]
