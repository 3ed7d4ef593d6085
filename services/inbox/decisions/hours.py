"""What a customer is told who writes while nobody works. Pure."""

from __future__ import annotations

from datetime import datetime

from services.inbox.model.conversation import AuthorRef, Conversation, Message
from services.inbox.model.items import OutOfHours
from shared.contracts.views import MessageStatus, Status


def is_told(conversation: Conversation, item: OutOfHours, now: datetime) -> bool:
    """Whether the customer still waits as routing found it, and may be written to."""
    closes = conversation.window_closes_at
    return (
        not conversation.deleted
        and conversation.status is Status.ON_HOLD
        and (conversation.episode, conversation.epoch) == (item.episode, item.epoch)
        and not conversation.contact.blocked
        and closes is not None
        and closes > now
    )


def closed_message(
    conversation: Conversation, item: OutOfHours, text: str, now: datetime
) -> Message:
    """The tenant's text. Its id is the episode's: it is sent once in it."""
    return Message(
        id=item.message_id,
        tenant=conversation.tenant,
        number_id=conversation.number_id,
        conversation_id=conversation.id,
        v=conversation.version + 1,
        seq=conversation.seq + 1,
        direction="out",
        type="text",
        received_at=now,
        author=AuthorRef("system"),
        text=text,
        content={},
        client_id=f"out_of_hours:{item.episode}",
        status=MessageStatus.QUEUED,
        outcome=MessageStatus.QUEUED,
    )
