"""What is known of one item of a webhook, by the id that WhatsApp gave it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from services.inbox.model.conversation import Message
from services.inbox.model.tally import Place, Refusal

LATE: Final = timedelta(minutes=5)


class ItemState(StrEnum):
    """What became of an item, as far as what is stored tells."""

    STORED = "stored"
    ERASED = "erased"
    """Stored, and deleted with its chat since; the id is kept for some days."""
    PARKED = "parked"
    """Behind a record that cannot be read, until an operator releases or drops it."""
    WAITING = "waiting"
    """A fact (status, reaction, edit) whose message is not here."""
    BLOCKED = "blocked"
    """Not stored: the tenant has blocked the contact. Known for 30 days."""
    QUARANTINED = "quarantined"
    """Signed by an app that its number does not belong to, or its number was not known yet."""


class Hop(StrEnum):
    """What an item passes, in this order."""

    WHATSAPP = "whatsapp"
    """Its own time: in whole seconds."""
    INGEST = "ingest"
    KAFKA = "kafka"
    INBOX = "inbox"
    """In its conversation, by a compare-and-set."""
    EVENT = "event"
    """On the topic of events, from where screens and other services have it."""


@dataclass(frozen=True, slots=True)
class Passed:
    """A hop, or what WhatsApp told of a message of ours (`sent`, `delivered`, ...)."""

    hop: str
    at: datetime


@dataclass(frozen=True, slots=True)
class WaitingItem:
    kind: str
    received_at: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class ParkedItem:
    """`produced_at`: when ingest's record came to Kafka."""

    kind: str
    reason: str
    produced_at: datetime
    parked_at: datetime


@dataclass(frozen=True, slots=True)
class QuarantinedItem:
    """In a body that was not taken; `reason` is the quarantine's own."""

    reason: str
    received_at: datetime | None
    quarantined_at: datetime


@dataclass(frozen=True, slots=True)
class Account:
    """Everything that names the item, in each of the places where an item can be.

    `again`: when further records with the same message came to Kafka.
    """

    message: Message | None
    waiting: tuple[WaitingItem, ...]
    parked: tuple[ParkedItem, ...]
    blocked: tuple[Refusal, ...] = ()
    again: tuple[datetime, ...] = ()
    quarantined: tuple[QuarantinedItem, ...] = ()
    hops: tuple[Passed, ...] = ()

    @property
    def place(self) -> Place | None:
        """Of the record that brought it; the topic is the inbound one."""
        if self.message is not None and self.message.source is not None:
            partition, _, offset = self.message.source.partition("/")
            return Place("", int(partition), int(offset))
        return self.blocked[0].place if self.blocked else None

    @property
    def late(self) -> bool:
        """Whether WhatsApp handed it over long after it was written: it tries for seven days."""
        at = {passed.hop: passed.at for passed in self.hops}
        if Hop.WHATSAPP not in at or Hop.INGEST not in at:
            return False
        return at[Hop.INGEST] - at[Hop.WHATSAPP] > LATE

    @property
    def state(self) -> ItemState | None:
        """None: nothing names it."""
        if self.message is not None:
            return ItemState.ERASED if self.message.deleted else ItemState.STORED
        if self.parked:
            return ItemState.PARKED
        if self.waiting:
            return ItemState.WAITING
        if self.blocked:
            return ItemState.BLOCKED
        return ItemState.QUARANTINED if self.quarantined else None
