"""Collects the events of one change of a conversation, one version each."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from services.inbox.decisions.lifecycle import Move, moved, row_of
from services.inbox.model.conversation import Conversation, LastLine, Message
from services.inbox.model.events import ActorRef, Command, Emitted, Standing
from shared.contracts.events import By, EventType
from shared.contracts.views import Status
from shared.value import evolve


class Draft:
    """A conversation on its way to a new state."""

    def __init__(self, conversation: Conversation, now: datetime) -> None:
        self.conversation = conversation
        self.now = now
        self.events: list[Emitted] = []

    def emit(
        self,
        type_: EventType,
        after: Conversation,
        *,
        actor: ActorRef,
        message: Message | None = None,
        created: bool = False,
        by: By | None = None,
        reason: str | None = None,
        explanation: dict[str, Any] | None = None,
        details: dict[str, Any] | None = None,
        commands: tuple[Command, ...] = (),
        erases_messages: bool = False,
    ) -> Emitted:
        """Adds an event that leads to `after`; its message carries the event's version."""
        was = self.conversation
        version = was.version + 1
        self.conversation = evolve(after, version=version, updated_at=self.now)
        first = was.version == 0
        event = Emitted(
            type=type_,
            at=self.now,
            conversation=self.conversation,
            before=Standing(None, None, None)
            if first
            else Standing(was.status, was.assignee, was.team),
            actor=actor,
            message=message
            if message is None or message.v == version
            else replace(message, v=version),
            created=created,
            by=by,
            reason=reason,
            explanation=explanation,
            details=details,
            commands=commands,
            erases_messages=erases_messages,
        )
        self.events.append(event)
        return event

    def move(
        self,
        move: Move,
        *,
        actor: ActorRef,
        by: By | None = None,
        reason: str | None = None,
        explanation: dict[str, Any] | None = None,
        details: dict[str, Any] | None = None,
    ) -> bool:
        """Takes a row of the table; False where there is none."""
        row = row_of(self.conversation, move)
        if row is None:
            return False
        after = moved(self.conversation, move, row)
        for event in row.events:
            self.emit(
                event,
                after,
                actor=actor,
                by=(by or row.by) if event is EventType.CONVERSATION_ASSIGNED else None,
                reason=reason,
                explanation=explanation,
                details=details,
                erases_messages=event is EventType.CONVERSATION_DELETED,
            )
            after = self.conversation
        return True


def last_line(message: Message) -> LastLine:
    """What a list shows of a message."""
    words = message.text
    return LastLine(
        id=message.id,
        seq=message.seq,
        direction=message.direction,
        type=message.type,
        text=words[:200] if words else None,
        at=message.sent_at or message.received_at,
        status=message.status,
        revoked=message.revoked,
    )


def blank(
    conversation_id: str,
    *,
    tenant: str,
    number_id: str,
    contact: Any,
    group_id: str | None,
    generation: int,
    now: datetime,
) -> Conversation:
    """A conversation that nothing has happened in: closed, at version, episode and epoch 0."""
    return Conversation(
        id=conversation_id,
        tenant=tenant,
        number_id=number_id,
        contact=contact,
        group_id=group_id,
        generation=generation,
        version=0,
        status=Status.CLOSED,
        episode=0,
        epoch=0,
        created_at=now,
        updated_at=now,
        labels=contact.labels,
    )
