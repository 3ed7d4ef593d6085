"""What is known of one item of a webhook, by the id that WhatsApp gave it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.inbox.model.conversation import Message


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
class Account:
    """Everything that names the item, in each of the places where an item can be."""

    message: Message | None
    waiting: tuple[WaitingItem, ...]
    parked: tuple[ParkedItem, ...]
    blocked: bool = False

    @property
    def state(self) -> ItemState | None:
        """None: nothing names it."""
        if self.message is not None:
            return ItemState.ERASED if self.message.deleted else ItemState.STORED
        if self.parked:
            return ItemState.PARKED
        if self.waiting:
            return ItemState.WAITING
        return ItemState.BLOCKED if self.blocked else None
