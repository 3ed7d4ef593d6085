"""What comes in from WhatsApp, delivery and routing, parsed: the input of the fold."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from services.inbox.model.conversation import Media, SendFailure, Stamp
from shared.contracts.events import RoutingDecision
from shared.contracts.views import MessageStatus
from shared.value import value


@value
class Person:
    """A WhatsApp user as one webhook shows them. Any member may be absent."""

    user_id: str | None = None
    wa_id: str | None = None
    name: str | None = None
    username: str | None = None

    @property
    def known(self) -> bool:
        return bool(self.user_id or self.wa_id)

    @property
    def shown_twice(self) -> bool:
        """By the BSUID and by the phone: whoever is known by one is known by both."""
        return bool(self.user_id and self.wa_id)


@value
class Body:
    """What a message says, whoever wrote it."""

    type: str
    text: str | None
    media: Media | None
    content: dict[str, Any]


@value
class Incoming:
    """A message of the customer, or an echo of what the business wrote on its phone.

    `opens`: it opens an episode, raises unread and refreshes the window (a system message and an
    echo do not).
    """

    id: str
    wamid: str
    sent_at: datetime
    received_at: datetime
    person: Person
    body: Body
    raw: bytes
    origin: Literal["customer", "phone", "system"]
    reply_key: str | None = None
    """Id that the quoted message has if it was incoming; its `wamid_key` if it was ours."""
    author_id: str | None = None
    """Who wrote it, where the conversation is not one contact's alone (a group)."""
    source: str | None = None
    """`partition/offset` of the record that it came in."""

    @property
    def opens(self) -> bool:
        return self.origin == "customer"


@value
class StatusFact:
    """A status webhook: Meta's word on an outgoing message.

    `wamid`, `wamid_key`: what Meta calls the message, which nobody else tells when the answer to
    its sending was lost.
    """

    name: str
    at: datetime
    error: SendFailure | None = None
    wamid: str | None = None
    wamid_key: str | None = None


@value
class ReactionFact:
    kind: Literal["contact", "agent"]
    by: str | None
    emoji: str | None
    stamp: Stamp


@value
class EditFact:
    body: Body
    stamp: Stamp


@value
class RevokeFact:
    stamp: Stamp


@value
class OutcomeFact:
    """Delivery's word on an outgoing message."""

    outcome: MessageStatus
    attempt: int
    at: datetime
    wamid: str | None = None
    wamid_key: str | None = None
    error: SendFailure | None = None


@value
class MediaFact:
    media_id: str | None
    at: datetime
    mime_type: str | None = None
    size: int | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    duration_ms: int | None = None


MessageFact = StatusFact | ReactionFact | EditFact | RevokeFact | OutcomeFact | MediaFact


@value
class Fact:
    """Something about a message that may not be here yet.

    `refs` are the ids that it may be found by: our message id (callback), or the keyed hash of
    its wamid. `key` is the same each time that Meta sends it.
    """

    key: str
    refs: tuple[str, ...]
    fact: MessageFact


@value
class Assignment:
    """A decision of routing to apply."""

    decision: RoutingDecision


@value
class BotFailure:
    """Delivery gave the number's bot up; counts for this epoch only."""

    epoch: int
    cause: str


@value
class OutOfHours:
    """Routing found that nobody works; `message_id` is the same for the whole episode."""

    episode: int
    epoch: int
    message_id: str


@value
class Called:
    """The customer called: WhatsApp opens the window as for a message."""

    at: datetime


Item = Incoming | Fact | Assignment | BotFailure | OutOfHours | Called
