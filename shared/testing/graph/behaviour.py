"""What the control API sets: faults, webhook behaviour, limits. All members have a default."""

import random
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from shared.testing.graph.model import StatusName

Delay = dict[StatusName, float]


class _Settable(BaseModel):
    model_config = ConfigDict(extra="forbid")


class WebhookBehaviour(_Settable):
    """How statuses and messages come back. Times are milliseconds."""

    enabled: bool = True
    paused: bool = False
    """Keep updates pending, as during an outage of Meta's webhooks."""
    statuses: list[StatusName] = ["sent", "delivered", "read"]
    delays_ms: Delay = {"sent": 20, "delivered": 60, "read": 120, "played": 160, "failed": 20}
    jitter_ms: float = Field(default=0, ge=0)
    pricing: dict[str, Any] | None = None
    """Overrides `statuses[].pricing`; `{}` leaves it out."""
    duplicate_ratio: float = Field(default=0, ge=0, le=1)
    duplicates: int = Field(default=1, ge=1)
    duplicate_delay_ms: float = Field(default=0, ge=0)
    late_retry_ratio: float = Field(default=0, ge=0, le=1)
    """Share of the webhooks answered 200 that are posted again, byte for byte, as when Meta does
    not get the answer."""
    late_retry_ms: float = Field(default=1000, ge=0)
    reorder_ratio: float = Field(default=0, ge=0, le=1)
    """Share of messages whose statuses come in reverse order."""
    shuffle: bool = False
    """Shuffle the updates inside each webhook."""
    batch_max: int = Field(default=1000, ge=1, le=1000)
    batch_window_ms: float = Field(default=10, ge=0)
    """While busy, at most one round of webhooks per window; an idle fake posts at once."""
    max_in_flight: int = Field(default=8, ge=1)
    timeout_ms: float = Field(default=10_000, gt=0)
    retry_initial_ms: float = Field(default=250, ge=0)
    retry_factor: float = Field(default=2, ge=1)
    retry_max_ms: float = Field(default=10_000, ge=0)
    retry_jitter: float = Field(default=0.2, ge=0, le=1)
    retry_for_s: float = Field(default=7 * 86_400, ge=0)
    """Meta retries for up to 7 days, then drops."""
    rebatch_on_retry: bool = False


class LimitSwitches(_Settable):
    """Which of Meta's limits are enforced; all are off unless switched on."""

    throughput: bool = False
    pair: bool = False
    window: bool = False
    """Only templates to customers that did not write through the fake in the last 24 h."""
    templates: bool = False
    """Refuse templates that the account does not have (132001)."""
    media: bool = False
    """Refuse media ids that the fake does not hold, or that belong to another number."""


class Match(_Settable):
    """Which calls a fault concerns; what is not given matches everything."""

    call: str = "send"
    """send, read, typing, media_upload, media_get, media_download, media_delete, block, unblock,
    block_list, subscribed_apps, number, templates, message_history, or `*`."""
    phone_number_id: str | None = None
    recipient: str | None = None
    type: str | None = None


class Fault(_Settable):
    """One thing that goes wrong, for the calls that match.

    Of the faults that match a call the oldest one acts.
    """

    id: str = ""
    match: Match = Field(default_factory=Match)
    times: int | None = Field(default=None, ge=1)
    """How many calls it hits; None is no end."""
    skip: int = Field(default=0, ge=0)
    """How many matching calls pass first."""
    ratio: float = Field(default=1, ge=0, le=1)
    seed: int = 0

    error: int | None = None
    """A Graph error code."""
    details: str | None = None
    is_transient: bool | None = None
    http_status: int | None = Field(default=None, ge=100, le=599)
    """With `error`, its HTTP status; alone, an answer without a Graph body."""
    body: str = "<html><body>Sorry, something went wrong.</body></html>"
    accept: bool = False
    """The error or bare status is answered although the message was accepted."""
    drop: Literal["before_accept", "after_accept"] | None = None
    """Hang up instead of answering."""
    delay_ms: float = Field(default=0, ge=0)
    """Answer late; a send is accepted at once, so its statuses may come first."""
    status_first: bool = False
    """The first status is delivered (answered by the receiver) before the send is answered."""
    statuses: list[StatusName] | None = None
    failed_status: int | None = None
    """The send is accepted, then a `failed` status with this code follows."""

    seen: int = 0
    hits: int = 0
    _random: random.Random | None = PrivateAttr(default=None)

    def takes(self, call: str, number_id: str, recipients: tuple[str, ...], kind: str) -> bool:
        """Tell whether this call is hit, and count it."""
        match = self.match
        if (
            match.call not in ("*", call)
            or match.phone_number_id not in (None, number_id)
            or (match.recipient is not None and match.recipient.lstrip("+") not in recipients)
            or match.type not in (None, kind)
            or (self.times is not None and self.hits >= self.times)
        ):
            return False
        self.seen += 1
        if self.seen <= self.skip:
            return False
        if self.ratio < 1:
            if self._random is None:
                self._random = random.Random(self.seed)
            if self._random.random() >= self.ratio:
                return False
        self.hits += 1
        return True
