"""A conversation and its messages as this service holds them: ids, never joined names."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from shared.contracts.views import MessageStatus, Priority, Status
from shared.value import open_value, value


@value
class ContactSnapshot:
    """What a conversation shows of its contact, as of its last event.

    `labels` are those that a new conversation of the contact begins with.
    """

    id: str
    name: str | None = None
    wa_id: str | None = None
    user_id: str | None = None
    username: str | None = None
    blocked: bool = False
    labels: tuple[str, ...] = ()


@value
class LastLine:
    """The newest message in a list's row."""

    id: str
    seq: int
    direction: Literal["in", "out"]
    type: str
    text: str | None
    at: datetime
    status: MessageStatus | None
    revoked: bool = False


@value
class AnsweredKey:
    """An `Idempotency-Key` and what it was answered with."""

    key: str
    status: int
    at: datetime
    message_id: str | None = None


@value
class Tenure:
    """Who held it from when to when, in one episode; `until` None: still."""

    agent: str
    since: datetime
    until: datetime | None = None


@value
class Doubt:
    """A send of which nobody knows the outcome, and when its agent is asked."""

    message_id: str
    ask_at: datetime


@open_value
class Conversation:
    """The state at `version`. `assignee` of a closed conversation is its last holder.

    Without slots: it is copied by `evolve`.
    """

    id: str
    tenant: str
    number_id: str
    contact: ContactSnapshot
    group_id: str | None
    generation: int
    version: int
    status: Status
    episode: int
    epoch: int
    created_at: datetime
    updated_at: datetime
    assignee: str | None = None
    team: str | None = None
    labels: tuple[str, ...] = ()
    unread: int = 0
    seq: int = 0
    last_message: LastLine | None = None
    opened_at: datetime | None = None
    closed_at: datetime | None = None
    waiting_since: datetime | None = None
    first_response_at: datetime | None = None
    window_closes_at: datetime | None = None
    last_inbound_wamid: str | None = None
    held_by_agent: bool = False
    holders: tuple[str, ...] = ()
    """Who held it lately, newest last: a former holder's stale action is told so, not hidden."""
    waited_ms: int = 0
    """On Hold in this episode, without the wait that lasts."""
    tenures: tuple[Tenure, ...] = ()
    """Who held it in this episode, newest last."""
    priority: Priority = Priority.NORMAL
    snoozed_until: datetime | None = None
    deleted: bool = False
    answered: tuple[AnsweredKey, ...] = ()
    responders: tuple[str, ...] = ()
    """The agents who sent something in this episode."""
    waited_since: datetime | None = None
    """Since when it had waited when its present holder took it."""
    bot_waits_since: datetime | None = None
    """Since when the bot owes the customer an answer."""
    window_warned: datetime | None = None
    """The `window_closes_at` that was warned of already."""
    doubts: tuple[Doubt, ...] = ()
    """Its `unknown` messages that nobody was asked about yet; see `decisions.doubts`."""
    due_at: datetime | None = None
    """No timer of it is due before; see `decisions.timers`."""

    @property
    def put_aside(self) -> bool:
        """Parked by hand, or asleep: routing gives it to nobody."""
        return self.held_by_agent or self.snoozed_until is not None


@value
class Media:
    """A file of a message; `id` is the tenant's own media id once it is stored."""

    state: Literal["pending", "ready", "failed"]
    id: str | None = None
    whatsapp_id: str | None = None
    url: str | None = None
    mime_type: str | None = None
    size: int | None = None
    sha256: str | None = None
    filename: str | None = None
    voice: bool = False
    width: int | None = None
    height: int | None = None
    duration_ms: int | None = None


@value
class Stamp:
    """Orders facts of one kind on one message: Meta's time, then the fact's own wamid."""

    at: datetime
    wamid: str

    def after(self, other: Stamp | None) -> bool:
        return other is None or (self.at, self.wamid) > (other.at, other.wamid)


@value
class ReactionState:
    """The newest reaction of one reactor; `emoji` None: it was taken back."""

    kind: Literal["contact", "agent"]
    by: str | None
    emoji: str | None
    stamp: Stamp


@value
class SendFailure:
    code: int | str
    title: str | None = None
    detail: str | None = None


@value
class AuthorRef:
    kind: Literal["contact", "agent", "bot", "phone", "system"]
    id: str | None = None
    name: str | None = None


UNNAMED = "unnamed"


@value
class Message:
    """A message at the event version `v`.

    `source` is the record that brought it, and no other (`Incoming.source`). `facts` holds each
    status webhook by its name with Meta's time; `outcome` is what delivery said; the shown
    `status` is derived from both. `asked_at`: its agent was asked, for as long as it is `unknown`.

    A resend is another command, and WhatsApp calls it by another wamid. `facts`, `outcome`,
    `wamid` and `error` are of the newest; `earlier` holds the `facts` that were told under other
    wamids, by their keys (`UNNAMED`: of a command whose wamid nobody knows).
    """

    id: str
    tenant: str
    number_id: str
    conversation_id: str
    v: int
    seq: int
    direction: Literal["in", "out"]
    type: str
    received_at: datetime
    author: AuthorRef
    text: str | None = None
    media: Media | None = None
    content: dict[str, Any] | None = None
    reply_to: str | None = None
    reactions: tuple[ReactionState, ...] = ()
    edited: bool = False
    revoked: bool = False
    edit_stamp: Stamp | None = None
    revoke_stamp: Stamp | None = None
    sent_at: datetime | None = None
    client_id: str | None = None
    wamid: str | None = None
    wamid_key: str | None = None
    status: MessageStatus | None = None
    outcome: MessageStatus | None = None
    attempt: int = 0
    facts: dict[str, datetime] | None = None
    earlier: dict[str, dict[str, datetime]] | None = None
    error: SendFailure | None = None
    asked_at: datetime | None = None
    raw: bytes | None = None
    source: str | None = None
    deleted: bool = False
