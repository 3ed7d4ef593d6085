"""How many records of a topic came for a tenant, and what became of each of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum

from shared.contracts.records import InRecord
from shared.value import value


class Outcome(StrEnum):
    """What became of a record. Each record has one."""

    MESSAGE = "message"
    """Stored as a message; by this record and no other."""
    FACT = "fact"
    """A status, a reaction, an edit or a revoke: with its message, or kept until that comes."""
    CHANGE = "change"
    """Of an account, a template, a group, ...: recorded as it came."""
    DUPLICATE = "duplicate"
    """The message is there, by another record."""
    BLOCKED = "blocked"
    """A message of a contact whom the tenant has blocked, or anything for an erased tenant."""
    PARKED = "parked"
    """Could not be read, or came behind such a one of its key: it waits for an operator."""
    DEAD = "dead"
    """Could not be read, and has no key to wait behind."""


STORED = frozenset({Outcome.MESSAGE, Outcome.FACT, Outcome.CHANGE})
REFUSED = frozenset({Outcome.BLOCKED, Outcome.PARKED, Outcome.DEAD})


@value
class Place:
    """Where a record is."""

    topic: str
    partition: int
    offset: int

    @classmethod
    def of(cls, record: InRecord) -> Place:
        return cls(record.topic, record.partition, record.offset)

    @property
    def id(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@value
class Lane:
    """What is counted together: a tenant's records of a day in one partition."""

    tenant: str
    day: date
    topic: str
    partition: int

    @property
    def id(self) -> str:
        return f"{self.tenant}/{self.day.isoformat()}/{self.topic}/{self.partition}"


@dataclass(frozen=True, slots=True)
class Run:
    """Records that are counted by one write, by rising offset; None: nobody said what became."""

    lane: Lane
    records: tuple[tuple[int, Outcome | None], ...]

    @property
    def first(self) -> int:
        return self.records[0][0]

    @property
    def last(self) -> int:
        return self.records[-1][0]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that was not taken. `item` is the id of the message that it would have been.

    `now` is what became of it since: what was parked can be released. `at`: when it came to Kafka.
    """

    place: Place
    tenant: str
    day: date
    outcome: Outcome
    item: str | None = None
    now: Outcome | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """A record whose message was there, by another record. `at`: when it came to Kafka."""

    place: Place
    tenant: str
    item: str
    at: datetime


def came_at(record: InRecord) -> datetime:
    """When a record came to Kafka."""
    return datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)


@dataclass(frozen=True, slots=True)
class Tally:
    """What is counted of a lane: every record of it from `first` to `upto`, each once."""

    lane: Lane
    first: int
    upto: int
    received: int
    outcomes: Counter[Outcome] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class DayTally:
    """A tenant's day over all partitions, with what was released since."""

    day: date
    received: int
    outcomes: Counter[Outcome]
