"""What a bot is told of its chats. Pure."""

from __future__ import annotations

from services.inbox.model.events import Emitted
from shared.contracts.events import EventType
from shared.contracts.views import ActorKind, Status

TOLD = frozenset(
    {
        EventType.CONVERSATION_OPENED,
        EventType.CONVERSATION_BOT_ACTIVATED,
        EventType.CONVERSATION_WINDOW_CLOSING,
        EventType.MESSAGE_RECEIVED,
        EventType.MESSAGE_EDITED,
        EventType.MESSAGE_REVOKED,
        EventType.MESSAGE_REACTED,
        EventType.MESSAGE_MEDIA_READY,
    }
)
"""What happens to a bot's chat without the bot's doing, while the bot has it."""
FAILED = "bot_failed"
"""The reason of a chat's end with a bot that could not be told of it."""


def tells_bot(event: Emitted) -> bool:
    """Whether the number's bot is to know of the event: what happens to its chats, and their end.

    It is not told of the end that it made itself, by handing off or by failing to be told.
    """
    if event.conversation.status is Status.BOT:
        return event.type in TOLD
    lost = event.before.status is Status.BOT
    return lost and event.actor.kind is not ActorKind.BOT and event.reason != FAILED
