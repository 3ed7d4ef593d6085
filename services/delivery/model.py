"""What delivery thinks in: send records, what Graph answered, what is to be done about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum


class SendStatus(StrEnum):
    """Where a send record stands; the last three are final (`unknown` may become accepted)."""

    QUEUED = "queued"
    STARTED = "started"
    RETRY = "retry"
    ACCEPTED = "accepted"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Trigger(StrEnum):
    """What moves a send record."""

    CLAIM = "claim"
    RELEASE = "release"
    """Claimed, but the POST was not made and never will be."""
    LATER = "later"
    """A definite error that may be tried again."""
    ACCEPT = "accept"
    REFUSE = "refuse"
    DOUBT = "doubt"
    """The POST may have been accepted: answer lost, or not Graph's."""
    LEASE_OVER = "lease_over"


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom to send to; any of the three may be absent."""

    wa_id: str | None = None
    user_id: str | None = None
    group_id: str | None = None

    @property
    def identity(self) -> str:
        """Names the receiving end of a pair; empty when there is none."""
        return self.group_id or self.wa_id or self.user_id or ""


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A stored file that is uploaded before the send."""

    sha256: str
    mime_type: str
    size: int
    filename: str | None = None
    voice: bool = False


@dataclass(frozen=True, slots=True)
class SendRecord:
    """One command to send one message.

    `id` is unique per (tenant, message, attempt_base). `attempt` counts from the base; `retries`
    counts the errors that were this message's own. `body` is Meta's JSON of the type, encoded.
    """

    id: str
    tenant: str
    number_id: str
    conversation_id: str
    message_id: str
    partition: int
    seq: int
    base: int
    status: SendStatus
    attempt: int
    recipient: Recipient
    type: str
    body: bytes
    queued_at: datetime
    stored_at: datetime
    reply_to: str | None = None
    media: MediaFile | None = None
    token: str | None = None
    retries: int = 0
    due_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        return self.status in OPEN


OPEN = frozenset({SendStatus.QUEUED, SendStatus.RETRY, SendStatus.STARTED})


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to POST one record once: no record ever sees the same `token` in two claims."""

    id: str
    tenant: str
    attempt: int
    token: str


@dataclass(frozen=True, slots=True)
class ErrorNote:
    """An error as it is shown to agents and operators: no personal data."""

    code: int | str
    title: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """An outcome to be written where (attempt, token) still is the claim's."""

    claim: Claim
    trigger: Trigger
    at: datetime
    wamid: str | None = None
    wa_id: str | None = None
    user_id: str | None = None
    error: ErrorNote | None = None
    retries: int = 0
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """A record that ended, as its event tells it."""

    id: str
    tenant: str
    number_id: str
    conversation_id: str
    message_id: str
    attempt: int
    status: SendStatus
    at: datetime
    wamid: str | None = None
    wa_id: str | None = None
    user_id: str | None = None
    error: ErrorNote | None = None


# --- What Graph answered ---


@dataclass(frozen=True, slots=True)
class Accepted:
    """200 with a message id."""

    wamid: str
    wa_id: str | None = None
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """200 to a call that is not a send; `members` is the answer's JSON."""

    members: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class GraphError:
    """A body of Graph's own with an error, whatever the HTTP status."""

    code: int
    title: str | None = None
    detail: str | None = None
    transient: bool = False
    members: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class NotSent:
    """The request was certainly not written: DNS, refused, TLS, connect timeout."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """The request may have been carried out: timeout, reset, an answer that is not Graph's."""

    reason: str


Answer = Accepted | GraphError | NotSent | Ambiguous
CallAnswer = Done | GraphError | NotSent | Ambiguous


# --- What is to be done ---


@dataclass(frozen=True, slots=True)
class Retry:
    """Try this message again after `delay`; its chat waits."""

    delay: timedelta
    reason: str
    alarm: bool = False


@dataclass(frozen=True, slots=True)
class HoldPair:
    """Nothing from this number to this user for `delay`."""

    delay: timedelta
    reason: str


@dataclass(frozen=True, slots=True)
class HoldNumber:
    """Nothing from this number for `delay`; `slow_down` also halves its rate."""

    delay: timedelta
    reason: str
    slow_down: bool = False


@dataclass(frozen=True, slots=True)
class StopNumber:
    """Nothing from this number until new credentials or, when given, until `pause` is over."""

    reason: str
    pause: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Fail:
    """Never to be sent."""

    reason: str


@dataclass(frozen=True, slots=True)
class Doubt:
    """It may have been sent: only a status or a human settles it."""

    reason: str


Verdict = Retry | HoldPair | HoldNumber | StopNumber | Fail | Doubt


class FaultPoint(StrEnum):
    """The places that `shared.faults` is told of: between any two of them a process may die."""

    INTAKE_STORED = "intake.stored"
    CLAIM_BEFORE = "claim.before"
    CLAIM_AFTER = "claim.after"
    POST_BEFORE = "post.before"
    POST_AFTER = "post.after"
    SETTLE_BEFORE = "settle.before"
    SETTLE_AFTER = "settle.after"
    EVENT_BEFORE = "event.before"
    EVENT_AFTER = "event.after"
    EVENT_CLEARED = "event.cleared"


class CallKind(StrEnum):
    """Commands that are not sends: may be repeated, in no order but a bot's and a contact's."""

    READ = "message.read"
    FETCH = "media.fetch"
    BLOCK = "contact.block"
    TEMPLATES = "templates.sync"
    RESUME = "number.resume"
    BOT = "bot.notify"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a number's block list is to say of a contact; the highest `version` counts.

    `at` is when its command was stored.
    """

    contact_id: str
    version: int
    blocked: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One such command; `payload` is its JSON. `id` is the command's event id.

    `seq` orders what a bot is told of one chat (`key`). `wish` is that of a `contact.block`, and
    `begun` tells that Meta may have been asked for it, or for an older one, in this record's name.
    """

    id: str
    tenant: str
    number_id: str
    key: str
    partition: int
    kind: CallKind
    payload: bytes
    stored_at: datetime
    retries: int = 0
    due_at: datetime | None = None
    seq: int = 0
    wish: Wish | None = None
    begun: bool = False


@dataclass(frozen=True, slots=True)
class EventNote:
    """An event to be produced: the same bytes each time. `key` is the record's key."""

    id: str
    type: str
    tenant: str
    key: str
    at: datetime
    value: bytes


@dataclass(frozen=True, slots=True)
class Stop:
    """Why nothing is sent from a number. Ends by credentials above `version`, or at `until`."""

    tenant: str
    number_id: str
    reason: str
    error: ErrorNote
    at: datetime
    version: int
    until: datetime | None = None


# --- Bots ---


@dataclass(frozen=True, slots=True)
class BotHook:
    """Where a number's bot is told, and with what it is signed."""

    url: str
    secret: str = field(repr=False)
    former: str | None = field(default=None, repr=False)
    former_until: datetime | None = None

    def secrets(self, now: datetime) -> tuple[str, ...]:
        """Those that count now, the present one first."""
        if self.former is None or self.former_until is None or self.former_until <= now:
            return (self.secret,)
        return (self.secret, self.former)


@dataclass(frozen=True, slots=True)
class BotAnswer:
    """What one attempt came to: a status, or a reason for none. `final`: no use to try again."""

    status: int | None = None
    reason: str = ""
    retry_after: timedelta | None = None
    final: bool = False


@dataclass(frozen=True, slots=True)
class BotDone:
    """It was told."""


@dataclass(frozen=True, slots=True)
class BotLater:
    """To be told again after `delay`."""

    delay: timedelta
    reason: str


@dataclass(frozen=True, slots=True)
class BotFailed:
    """It will not be told; the chat leaves the bot."""

    reason: str


BotVerdict = BotDone | BotLater | BotFailed
