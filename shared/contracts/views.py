"""Conversation, message and contact as the REST API and the events show them."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from shared.contracts.base import Payload, Time


class Status(StrEnum):
    """Where a conversation stands."""

    BOT = "bot"
    ON_HOLD = "on_hold"
    OPEN = "open"
    CLOSED = "closed"


class Priority(StrEnum):
    """How urgent the agents hold a conversation to be."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"


class MessageStatus(StrEnum):
    """What is shown of an outgoing message."""

    QUEUED = "queued"
    ACCEPTED = "accepted"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    PLAYED = "played"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Role(StrEnum):
    """What a person may do."""

    AGENT = "agent"
    SUPERVISOR = "supervisor"
    ADMIN = "admin"


class Ref(Payload):
    """An entity by id, with its present name."""

    id: str
    name: str | None = None


class NumberRef(Payload):
    id: str
    phone_number_id: str | None = None
    display_phone_number: str | None = None


class ContactRef(Payload):
    id: str
    name: str | None = None
    wa_id: str | None = None
    user_id: str | None = None
    username: str | None = None
    blocked: bool = False


class LabelRef(Payload):
    id: str
    name: str | None = None
    color: str | None = None


class LastMessage(Payload):
    """The line that a list shows of a conversation's newest message."""

    id: str
    seq: int
    direction: Literal["in", "out"]
    type: str
    text: str | None = None
    at: Time
    status: MessageStatus | None = None
    revoked: bool = False


class Conversation(Payload):
    """A conversation's full state. `version` is that of its last event.

    `held_by_agent`: parked by hand, until the customer writes or somebody takes it. Routing gives
    neither that nor what is snoozed to anybody.
    """

    id: str
    version: int
    status: Status
    episode: int
    epoch: int
    assignee: Ref | None
    team: Ref | None
    number: NumberRef
    contact: ContactRef
    labels: list[LabelRef]
    unread: int
    last_message: LastMessage | None
    opened_at: Time | None
    closed_at: Time | None
    waiting_since: Time | None
    window_closes_at: Time | None
    updated_at: Time
    priority: Priority = Priority.NORMAL
    held_by_agent: bool = False
    snoozed_until: Time | None = None


class MediaView(Payload):
    id: str | None
    mime_type: str | None = None
    size: int | None = None
    sha256: str | None = None
    filename: str | None = None
    voice: bool = False
    width: int | None = None
    height: int | None = None
    duration_ms: int | None = None
    state: Literal["pending", "ready", "failed"]


class Reactor(Payload):
    kind: Literal["contact", "agent"]
    id: str | None


class Reaction(Payload):
    by: Reactor
    emoji: str


class Author(Payload):
    kind: Literal["contact", "agent", "bot", "phone", "system"]
    id: str | None = None
    name: str | None = None


class MessageError(Payload):
    code: int | str
    title: str | None = None
    detail: str | None = None


class Message(Payload):
    """A message of a conversation. `seq` rises in the order of arrival, without meaning more.

    `asked_at`: it stayed `unknown`, and since then its agent is asked to resend or to discard it;
    null again once it is settled.
    """

    id: str
    wamid: str | None
    conversation_id: str
    seq: int
    direction: Literal["in", "out"]
    type: str
    text: str | None
    media: MediaView | None
    content: dict[str, Any]
    reply_to: str | None
    reactions: list[Reaction]
    edited: bool
    revoked: bool
    sent_at: Time | None
    received_at: Time
    author: Author
    client_id: str | None
    status: MessageStatus | None
    error: MessageError | None
    asked_at: Time | None = None


class ActorKind(StrEnum):
    """Who did something."""

    AGENT = "agent"
    BOT = "bot"
    CUSTOMER = "customer"
    ROUTING = "routing"
    SYSTEM = "system"


class Actor(Payload):
    kind: ActorKind
    id: str | None = None
    name: str | None = None


class Activity(Payload):
    """A line of the internal log of a conversation; `type` is from the event vocabulary."""

    id: str
    version: int
    type: str
    at: Time
    actor: Actor
    data: dict[str, Any]


class Contact(Payload):
    """A WhatsApp user as one tenant sees them."""

    id: str
    version: int
    name: str | None = None
    wa_id: str | None = None
    user_id: str | None = None
    username: str | None = None
    blocked: bool = False
    labels: list[LabelRef] = []
