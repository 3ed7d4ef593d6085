"""An event that a decision emits: what happened, before it is rendered and stored."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from services.inbox.model.conversation import Conversation, Message
from shared.contracts.commands import CommandType
from shared.contracts.events import By, EventType
from shared.contracts.views import ActorKind, Status
from shared.value import value


@value
class ActorRef:
    """Who did it. The name is joined when the event is rendered."""

    kind: ActorKind
    id: str | None = None


SYSTEM = ActorRef(ActorKind.SYSTEM)
CUSTOMER = ActorRef(ActorKind.CUSTOMER)
ROUTING = ActorRef(ActorKind.ROUTING)


@value
class Standing:
    """Where the conversation stood before."""

    status: Status | None
    assignee: str | None
    team: str | None


@value
class Command:
    """Something for delivery to do; `payload` fits the command's model."""

    type: CommandType
    payload: dict[str, Any]


@value
class Emitted:
    """One event of a conversation: its state after it, and every effect.

    `created`: the message's document is new (inserted); else it is put.
    """

    type: EventType
    at: datetime
    conversation: Conversation
    before: Standing
    actor: ActorRef
    message: Message | None = None
    created: bool = False
    by: By | None = None
    reason: str | None = None
    explanation: dict[str, Any] | None = None
    details: dict[str, Any] | None = None
    commands: tuple[Command, ...] = ()
    erases_messages: bool = False


@value
class Line:
    """A line of the internal log; `type` is that of the event it tells of."""

    id: str
    version: int
    type: str
    at: datetime
    actor: ActorRef
    data: dict[str, Any]
