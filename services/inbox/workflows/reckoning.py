"""Compares the ledger's counters with the topic, record by record, and with what is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import orjson

from services.inbox.decisions.parsing import Parsed, Recorded, parse
from services.inbox.decisions.reckoning import Difference, Evidence, Reckoning, found
from services.inbox.model.items import Fact, Incoming, StatusFact
from services.inbox.model.tally import Lane, Outcome, Place, Refusal
from services.inbox.storage.evidence import EvidenceStore
from services.inbox.storage.messages import PENDING_KEPT, STUBS_KEPT
from services.inbox.storage.tallies import TallyStore
from shared.contracts.directory import PLATFORM
from shared.contracts.envelope import Envelope, parse_timestamp, read_envelope
from shared.contracts.errors import EnvelopeError, PermanentError
from shared.contracts.records import InRecord
from shared.ids import IdHasher
from shared.kafka.scan import committed, scan
from shared.kafka.settings import KafkaSettings
from shared.mongo.client import Database

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Reckoned:
    """What was compared, and what differs."""

    records: int
    differences: Sequence[Difference]


@dataclass(frozen=True, slots=True)
class _Read:
    record: InRecord
    lane: Lane
    parsed: Parsed | Recorded | None

    @property
    def refs(self) -> tuple[str, ...]:
        item = self.parsed.item if isinstance(self.parsed, Parsed) else None
        match item:
            case Incoming():
                return (item.id,)
            case Fact():
                return item.refs
            case _:
                return ()

    @property
    def kind(self) -> str:
        """What was read, in a word."""
        if isinstance(self.parsed, Recorded):
            return self.parsed.field
        match None if self.parsed is None else self.parsed.item:
            case Incoming(origin=origin):
                return f"message of {origin}"
            case Fact(fact=StatusFact(name=name)):
                return f"status {name}"
            case Fact(fact=fact):
                return type(fact).__name__
            case _:
                return "unreadable"

    @property
    def key(self) -> str | None:
        """By which a fact waits, or a change is recorded."""
        if isinstance(self.parsed, Recorded):
            return self.parsed.id
        item = None if self.parsed is None else self.parsed.item
        return item.key if isinstance(item, Fact) else None


class LedgerCheck:
    """Compares one topic that one group reads. Changes nothing; services may run beside it."""

    def __init__(
        self, settings: KafkaSettings, database: Database, ids: IdHasher, *, topic: str, group: str
    ) -> None:
        self._settings = settings
        self._tallies = TallyStore(database)
        self._evidence = EvidenceStore(database)
        self._ids = ids
        self._topic = topic
        self._group = group

    async def run(self, since: date, upto: dict[int, int] | None = None) -> Reckoned:
        """Every record from a day on. Raises TransientError when a server is away.

        `upto`: offsets below which everything was surely counted, by default what is committed.
        """
        # The order matters: what is committed was counted before, what is counted is on the topic.
        if upto is None:
            upto = await committed(self._settings, self._group, self._topic)
        erased = await self._evidence.erased_tenants()
        reckoning = Reckoning(
            [
                tally
                for tally in await self._tallies.of_topic(self._topic, since)
                if tally.lane.tenant not in erased
            ],
            starts=await self._tallies.starts(self._topic),
            upto=upto,
        )
        async for batch in self._batches(since, erased):
            await self._take(
                reckoning,
                [read for read in batch if reckoning.concerns(read.lane, Place.of(read.record))],
            )
        return Reckoned(reckoning.records, [*reckoning.differences()])

    async def _batches(self, since: date, erased: set[str]) -> AsyncIterator[list[_Read]]:
        begins = datetime(since.year, since.month, since.day, tzinfo=UTC)
        batch: list[_Read] = []
        async for record in scan(self._settings, self._topic, since=begins):
            read = self._read(record)
            if read.lane.day >= since and read.lane.tenant not in erased:
                batch.append(read)
            if len(batch) >= _AT_ONCE:
                yield batch
                batch = []
        yield batch

    def _read(self, record: InRecord) -> _Read:
        day = datetime.fromtimestamp(record.timestamp_ms // 1000, UTC).date()
        try:
            envelope = read_envelope(record.headers)
        except EnvelopeError:
            return _Read(record, Lane(PLATFORM, day, record.topic, record.partition), None)
        lane = Lane(envelope.tenant, day, record.topic, record.partition)
        return _Read(record, lane, self._parsed(record, envelope))

    def _parsed(self, record: InRecord, envelope: Envelope) -> Parsed | Recorded | None:
        try:
            told = orjson.loads(record.value or b"")
            at = parse_timestamp(told["received_at"])
            return parse(envelope.type, envelope.tenant, envelope.id, told, at, self._ids)
        except (ValueError, KeyError, TypeError, AttributeError, PermanentError):
            return None

    async def _take(self, reckoning: Reckoning, reads: Sequence[_Read]) -> None:
        if not reads:
            return
        places = [Place.of(read.record) for read in reads]
        messages = await self._evidence.messages(sorted({r for read in reads for r in read.refs}))
        keys = [read.key for read in reads if read.key is not None]
        kept = await self._evidence.waiting(keys) | await self._evidence.recorded(keys)
        refusals = await self._tallies.refusals(places)
        parked = await self._evidence.parked(
            f"{self._group}:{self._topic}", [p for p in places if _is_parked(refusals.get(p))]
        )
        now = datetime.now(UTC)
        for read, place in zip(reads, places, strict=True):
            refusal = refusals.get(place)
            outcome = found(
                read.parsed,
                f"{place.partition}/{place.offset}",
                Evidence(
                    old=_is_old(read, now),
                    message=messages.first(read.refs),
                    refusal=refusal,
                    kept=read.key in kept,
                    parked=place in parked,
                ),
            )
            reckoning.take(read.lane, place, outcome, refusal, read.kind)


def _is_old(read: _Read, now: datetime) -> bool:
    """A deleted message leaves a stub for some days, a fact waits for one."""
    item = read.parsed.item if isinstance(read.parsed, Parsed) else None
    age = now - datetime.fromtimestamp(read.record.timestamp_ms / 1000, UTC)
    return age >= (PENDING_KEPT if isinstance(item, Fact) else STUBS_KEPT)


def _is_parked(refusal: Refusal | None) -> bool:
    return refusal is not None and refusal.outcome is Outcome.PARKED and refusal.now is None


def first_day(days: int) -> date:
    """The first of the last days, today included."""
    return datetime.now(UTC).date() - timedelta(days=days - 1)
