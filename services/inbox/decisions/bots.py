"""What a bot is told of its chats. Pure."""

from __future__ import annotations

from services.inbox.model.events import Emitted
from shared.contracts.events import EventType
from shared.contracts.views import Status

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
"""What happens to a bot's chat without the bot's doing."""


def tells_bot(event: Emitted) -> bool:
    """Whether the number's bot is to know of the event."""
    return event.conversation.status is Status.BOT and event.type in TOLD
