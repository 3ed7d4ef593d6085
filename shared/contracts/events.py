"""The event vocabulary: types and payloads of the public and internal event topics.

On Kafka the type is `ce_type` (`atrio.<type>.v1`) and the value is the payload; the sockets
carry the same payload as `data`. Readers skip and count types that they do not know.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from shared.contracts.base import Payload, Time
from shared.contracts.views import (
    Activity,
    Actor,
    Contact,
    Conversation,
    Message,
    MessageError,
    Status,
)


class EventType(StrEnum):
    """One vocabulary for Kafka, sockets and the internal log."""

    CONVERSATION_OPENED = "conversation.opened"
    CONVERSATION_ASSIGNED = "conversation.assigned"
    CONVERSATION_HELD = "conversation.held"
    CONVERSATION_TRANSFERRED = "conversation.transferred"
    CONVERSATION_CLOSED = "conversation.closed"
    CONVERSATION_REOPENED = "conversation.reopened"
    CONVERSATION_BOT_ACTIVATED = "conversation.bot_activated"
    CONVERSATION_LABELLED = "conversation.labelled"
    CONVERSATION_READ = "conversation.read"
    CONVERSATION_UNREAD = "conversation.unread"
    CONVERSATION_DELETED = "conversation.deleted"
    CONVERSATION_UPDATED = "conversation.updated"
    CONVERSATION_WINDOW_CLOSING = "conversation.window_closing"
    MESSAGE_RECEIVED = "message.received"
    MESSAGE_QUEUED = "message.queued"
    MESSAGE_STATUS = "message.status"
    MESSAGE_EDITED = "message.edited"
    MESSAGE_REVOKED = "message.revoked"
    MESSAGE_REACTED = "message.reacted"
    MESSAGE_MEDIA_READY = "message.media_ready"
    CONTACT_UPDATED = "contact.updated"
    CONTACT_BLOCKED = "contact.blocked"
    CONTACT_UNBLOCKED = "contact.unblocked"
    AGENT_PRESENCE = "agent.presence"
    AGENT_AVAILABILITY = "agent.availability"
    ACCOUNT_CHANGED = "account.changed"


class By(StrEnum):
    """What an assignment came from."""

    ACCEPT = "accept"
    ROUTING = "routing"
    TRANSFER = "transfer"
    REOPEN = "reopen"
    TAKE_OVER = "take_over"


class Before(Payload):
    """Where the conversation stood before the event; None for its first one.

    With it a feed computes once per event and client whether it enters, updates or leaves.
    """

    status: Status | None
    assignee: str | None
    team: str | None


class MessageEvent(Payload):
    """Payload of every `message.*` event."""

    message: Message
    conversation: Conversation
    before: Before


class ConversationEvent(Payload):
    """Payload of every `conversation.*` event.

    `reason` is a stable code or the id of a close reason, `explanation` the routing decision's own
    account. `activity`: the line of the internal log, where it tells more than the rest (a note,
    the labels that came and went, a priority).
    """

    conversation: Conversation
    before: Before
    actor: Actor
    by: By | None = None
    reason: str | None = None
    explanation: dict[str, Any] | None = None
    activity: Activity | None = None


class ContactEvent(Payload):
    """Payload of `contact.*` on contact.events.v1; `ce_sequence` is the contact's version."""

    contact: Contact
    actor: Actor


class AgentPresence(Payload):
    """`agent.presence`: sockets appeared or are gone. `ce_sequence` rises with each transition."""

    agent_id: str
    present: bool
    at: Time


class AgentAvailability(Payload):
    """`agent.availability`: the agent's own switch. `ce_sequence` is the agent's version."""

    agent_id: str
    available: bool
    at: Time


class TemplateName(Payload):
    """A message template, as Meta names it."""

    id: str | None
    name: str | None
    language: str | None


class AccountChanged(Payload):
    """`account.changed`: Meta told something of an account, a number, a template or a contact.

    `field` is the webhook's field; `change` its word for what happened: an event, a decision, the
    new quality or category, `stop` or `resume` of marketing; `details` the rest, as Meta put it.
    Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks
    """

    id: str
    at: Time
    field: str
    change: str | None
    waba_id: str | None
    number_id: str | None
    contact_id: str | None
    template: TemplateName | None
    details: dict[str, Any]


class DeliveryEventType(StrEnum):
    """Types on delivery.events.v1."""

    SEND_ACCEPTED = "send.accepted"
    SEND_FAILED = "send.failed"
    SEND_UNKNOWN = "send.unknown"
    MEDIA_READY = "media.ready"
    MEDIA_FAILED = "media.failed"
    BLOCK_DONE = "block.done"
    BLOCK_FAILED = "block.failed"
    NUMBER_STOPPED = "number.stopped"
    NUMBER_RESUMED = "number.resumed"
    TEMPLATES_SYNCED = "templates.synced"
    BOT_FAILED = "bot.failed"


class SendOutcome(Payload):
    """`send.*`: what became of one message. `attempt` orders outcomes of the same message.

    `wa_id` and `user_id` are what WhatsApp answered for the recipient (they may differ from
    what was asked for); `wamid` is there after `send.accepted` only.
    """

    message_id: str
    conversation_id: str
    number_id: str
    attempt: int
    at: Time
    wamid: str | None = None
    wa_id: str | None = None
    user_id: str | None = None
    error: MessageError | None = None


class MediaOutcome(Payload):
    """`media.*`: an incoming file was stored under `media_id`, or could not be had."""

    message_id: str
    conversation_id: str
    number_id: str
    at: Time
    media_id: str | None = None
    mime_type: str | None = None
    size: int | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    duration_ms: int | None = None
    error: MessageError | None = None


class BlockOutcome(Payload):
    """`block.*`: Meta's own block list was changed, or refused the change."""

    contact_id: str
    number_id: str
    blocked: bool
    at: Time
    error: MessageError | None = None


class NumberOutcome(Payload):
    """`number.*`: sending from a number stopped (cause in `error`) or goes on.

    `reason` is delivery's own code for the cause; with `until` it ends by itself at that time.
    """

    number_id: str
    at: Time
    error: MessageError | None = None
    reason: str | None = None
    until: Time | None = None


class TemplatesSynced(Payload):
    """`templates.synced`: the message templates of an account, as Meta shows them.

    One reading of all of them comes in `parts` records of one key, in order, with the same `at`:
    after the last part, what has an older `at` is gone at Meta.
    """

    waba_id: str
    at: Time
    part: int
    parts: int
    templates: list[dict[str, Any]]


class BotOutcome(Payload):
    """`bot.failed`: the bot will not get the event of this version: it takes no part any more.

    Counts only while the conversation has the `epoch` that the event had. `reason` is a code:
    `http_<status>`, `not_reached`, `redirected`, `address_not_allowed`, `no_bot`.
    """

    conversation_id: str
    number_id: str
    epoch: int
    version: int
    reason: str
    at: Time


class DecisionType(StrEnum):
    """Types on routing.decisions.v1."""

    ASSIGN = "routing.assign"
    PARK = "routing.park"


OUT_OF_HOURS = "out_of_hours"
"""The reason of a `park` that inbox tells the customer of."""


class RoutingDecision(Payload):
    """A decision about one conversation, valid for its (episode, epoch) only.

    `explanation`: `{strategy, rule, candidates: [{agent_id, load, capacity, present, ...}]}`.
    """

    kind: Literal["assign", "park"]
    conversation_id: str
    episode: int
    epoch: int
    agent_id: str | None
    reason: str
    explanation: dict[str, Any]
    decided_at: Time


PAYLOADS: dict[str, type[Payload]] = {
    **{t.value: MessageEvent for t in EventType if t.value.startswith("message.")},
    **{t.value: ConversationEvent for t in EventType if t.value.startswith("conversation.")},
    **{t.value: ContactEvent for t in EventType if t.value.startswith("contact.")},
    EventType.AGENT_PRESENCE.value: AgentPresence,
    EventType.AGENT_AVAILABILITY.value: AgentAvailability,
    EventType.ACCOUNT_CHANGED.value: AccountChanged,
    DeliveryEventType.SEND_ACCEPTED.value: SendOutcome,
    DeliveryEventType.SEND_FAILED.value: SendOutcome,
    DeliveryEventType.SEND_UNKNOWN.value: SendOutcome,
    DeliveryEventType.MEDIA_READY.value: MediaOutcome,
    DeliveryEventType.MEDIA_FAILED.value: MediaOutcome,
    DeliveryEventType.BLOCK_DONE.value: BlockOutcome,
    DeliveryEventType.BLOCK_FAILED.value: BlockOutcome,
    DeliveryEventType.NUMBER_STOPPED.value: NumberOutcome,
    DeliveryEventType.NUMBER_RESUMED.value: NumberOutcome,
    DeliveryEventType.TEMPLATES_SYNCED.value: TemplatesSynced,
    DeliveryEventType.BOT_FAILED.value: BotOutcome,
    DecisionType.ASSIGN.value: RoutingDecision,
    DecisionType.PARK.value: RoutingDecision,
}
"""The payload of each event type."""
