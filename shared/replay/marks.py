"""What was done with a record that stays in its topic: a mark behind it, in the same topic.

Kafka forgets no single record, so the topic itself keeps what became of each: the mark is also
the durable account of who did it.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import orjson
import structlog
from typing_extensions import override

from shared.contracts.directory import PLATFORM
from shared.contracts.envelope import Envelope, Headers, timestamp
from shared.contracts.records import InRecord, OutRecord
from shared.contracts.topics import Topic
from shared.ids import new_id

log = structlog.get_logger()

MARKED = "atrio_replay_of"
"""Header of a mark: `<partition>/<offset>` of the record that it settles."""
MARK_TYPE = "replay.marked"


class Action(StrEnum):
    """What an operator did."""

    REDRIVEN = "redriven"
    DROPPED = "dropped"
    RELEASED = "released"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a record lies in its topic."""

    partition: int
    offset: int

    @override
    def __str__(self) -> str:
        return f"{self.partition}/{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Place:
        """Raises ValueError for what is not `<partition>/<offset>`."""
        partition, _, offset = text.partition("/")
        return cls(int(partition), int(offset))


@dataclass(frozen=True, slots=True)
class Waiting:
    """A record that nobody settled yet, without its value, which may be megabytes."""

    place: Place
    timestamp_ms: int
    size: int
    key: bytes | None
    headers: dict[str, bytes]

    def header(self, name: str) -> str:
        return self.headers.get(name, b"").decode(errors="replace")

    @property
    def at(self) -> str:
        return timestamp(datetime.fromtimestamp(self.timestamp_ms / 1000, UTC))


@dataclass(frozen=True, slots=True)
class Settled:
    """What was done with one record; `kept` is why it still waits."""

    place: Place
    kept: str | None = None


def account(action: Action, topic: str, record: InRecord, by: str) -> None:
    """The audit line of one record; the mark is the durable one."""
    log.info(f"replay.{action}", who=by, topic=topic, place=str(place_of(record)))  # noqa: G004 - a name of two


def operator() -> str:
    """Who runs this, as the machine knows them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"


def place_of(record: InRecord) -> Place:
    """Where a record was read."""
    return Place(record.partition, record.offset)


def marked(headers: Iterable[tuple[str, bytes]]) -> Place | None:
    """The place that a mark settles; None for what is no mark."""
    found = dict(headers).get(MARKED)
    if found is None:
        return None
    try:
        return Place.parse(found.decode())
    except ValueError:
        return None


def mark(topic: Topic, record: InRecord, action: Action, by: str) -> OutRecord:
    """The mark for a record: the same key, so that who follows its partition sees it."""
    at = timestamp(datetime.now(UTC))
    envelope = Envelope(id=new_id(), type=MARK_TYPE, source="operator", time=at, tenant=PLATFORM)
    place = str(place_of(record))
    headers: Headers = [*envelope.headers(), (MARKED, place.encode())]
    value = orjson.dumps({"action": action.value, "by": by, "at": at, "of": place})
    return OutRecord(topic, record.key, value, headers)


class Sieve:
    """Takes a whole topic, in any order, and keeps what has no mark."""

    def __init__(self) -> None:
        self._settled: set[Place] = set()
        self._found: dict[Place, Waiting] = {}

    def take(self, record: InRecord) -> None:
        of = marked(record.headers)
        if of is not None:
            self._settled.add(of)
            return
        place = place_of(record)
        self._found[place] = Waiting(
            place=place,
            timestamp_ms=record.timestamp_ms,
            size=len(record.value or b""),
            key=record.key,
            headers=dict(record.headers),
        )

    def waiting(self) -> list[Waiting]:
        """By place."""
        return [self._found[place] for place in sorted(self._found.keys() - self._settled)]
