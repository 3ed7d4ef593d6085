"""What the fake knows: the shapes that its parts pass to each other."""

from dataclasses import dataclass, field
from typing import Any, Literal

Json = dict[str, Any]
StatusName = Literal["sent", "delivered", "read", "played", "failed"]


@dataclass(slots=True)
class Target:
    """Where a number's webhooks go, and what signs them."""

    url: str
    secret: str


@dataclass(slots=True, eq=False)
class Event:
    """One status of one message, and how its webhook fares (`message_history`)."""

    status: str
    state: Literal["PENDING", "DELIVERED", "FAILED", "RETRYING"] = "PENDING"
    timestamp: int = 0
    error: str | None = None


@dataclass(slots=True, eq=False)
class Sent:
    """A message the fake accepted."""

    wamid: str
    phone_number_id: str
    kind: str
    category: str
    callback_data: str | None
    recipient_id: str | None = None
    recipient_user_id: str | None = None
    to_user_id: bool = False
    group: bool = False
    voice: bool = False
    events: list[Event] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Update:
    """One item of a webhook on its way: a status, a message, or a whole change.

    `member` is the array of `value` that it joins; an update without one (`raw`) is a payload of
    its own and is never coalesced.
    """

    target: Target
    number_id: str
    member: Literal["statuses", "messages"] | None = None
    item: Json = field(default_factory=dict)
    contact: Json | None = None
    raw: bytes | None = None
    event: Event | None = None
    attempts: int = 0
    first_at: float | None = None
