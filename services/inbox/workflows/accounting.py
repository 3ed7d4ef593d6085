"""Keeps the ledger of a topic: what became of each record, counted before its offset is committed.

Nothing is written for a record. What batches did is gathered in memory and written beside the
next ones, a few times a second: one update for each tenant, day and partition.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime

from services.inbox.model.tally import (
    REFUSED,
    STORED,
    Again,
    Lane,
    Outcome,
    Place,
    Refusal,
    Run,
    came_at,
)
from services.inbox.storage.tallies import TallyStore
from shared.contracts.directory import PLATFORM
from shared.contracts.envelope import read_envelope
from shared.contracts.errors import EnvelopeError
from shared.contracts.records import InRecord
from shared.faults import FaultPoints, NoFaults
from shared.value import value

_DAY_MS = 86_400_000


@value
class _Note:
    tenant: str
    outcome: Outcome
    item: str | None


class Accounting:
    """`shared.kafka.accounts.RecordAccounts` of one topic; one per process.

    The handler says with `note` what became of a record, the subscription that its batch is done
    with. A record that comes again is noted again: the last word counts, once.
    """

    def __init__(self, store: TallyStore, faults: FaultPoints | None = None) -> None:
        self.store = store
        self._faults = faults or NoFaults()
        self._notes: dict[tuple[int, int], _Note] = {}
        # By lane and offset: what could not be kept when its partition went may come back with it.
        self._counted: dict[tuple[str, int, str, int], dict[int, Outcome | None]] = {}
        self._refused: dict[str, Refusal] = {}
        self._again: dict[str, Again] = {}
        self._writing = asyncio.Lock()

    def note(self, record: InRecord, tenant: str, outcome: Outcome, item: str | None) -> None:
        """What became of a record; `item` is the id of the message that it has."""
        self._notes[record.partition, record.offset] = _Note(tenant, outcome, item)

    def set_aside(self, record: InRecord, *, parked: bool) -> None:
        """It could not be handled; whose it is may not be readable either."""
        try:
            tenant = read_envelope(record.headers).tenant
        except EnvelopeError:
            tenant = PLATFORM
        self.note(record, tenant, Outcome.PARKED if parked else Outcome.DEAD, None)

    def settled(self, records: Sequence[InRecord]) -> None:
        """A batch is done with."""
        notes = self._notes
        for record in records:
            noted = notes.pop((record.partition, record.offset), None)
            # Nobody said what became of it: that it came is counted, and seen to be one too many.
            tenant = PLATFORM if noted is None else noted.tenant
            outcome = None if noted is None else noted.outcome
            lane = (tenant, record.timestamp_ms // _DAY_MS, record.topic, record.partition)
            self._counted.setdefault(lane, {})[record.offset] = outcome
            if self._refused:
                self._refused.pop(Place.of(record).id, None)
            if noted is not None and noted.outcome not in STORED:
                self._tell(record, noted, _day(lane[1]))
        # What an abandoned batch left; its records are noted again when they come again.
        notes.clear()

    def _tell(self, record: InRecord, noted: _Note, day: date) -> None:
        """What is not stored leaves a note: there are few of them."""
        place, at = Place.of(record), came_at(record)
        if noted.outcome in REFUSED:
            self._refused[place.id] = Refusal(
                place, noted.tenant, day, noted.outcome, noted.item, at=at
            )
        elif noted.item is not None:
            self._again[place.id] = Again(place, noted.tenant, noted.item, at)

    async def keep(self) -> None:
        """Writes what was settled; on an error all of it stays for the next time."""
        async with self._writing:
            taken = {lane: tuple(sorted(each.items())) for lane, each in self._counted.items()}
            refused, again = list(self._refused.values()), list(self._again.values())
            if not taken:
                return
            await self._faults.reach("counting")
            runs = [
                Run(Lane(tenant, _day(day), topic, partition), records)
                for (tenant, day, topic, partition), records in taken.items()
            ]
            await self.store.add(runs, refused, again)
            await self._faults.reach("counted")
            for lane, records in taken.items():
                counted = self._counted[lane]
                for offset, outcome in records:
                    if counted[offset] is outcome:
                        del counted[offset]
                if not counted:
                    del self._counted[lane]
            for each in refused:
                if self._refused.get(each.place.id) is each:
                    del self._refused[each.place.id]
            for told in again:
                self._again.pop(told.place.id, None)

    async def released(self, record: InRecord) -> None:
        """What was parked is taken: counted as such if it is not counted yet, else corrected."""
        noted = self._notes.get((record.partition, record.offset))
        if noted is None or noted.outcome in REFUSED:
            return
        place = Place.of(record)
        async with self._writing:
            if self._refused.pop(place.id, None) is None:
                await self.store.release(place, noted.outcome)
                return
            day = record.timestamp_ms // _DAY_MS
            lane = (noted.tenant, day, record.topic, record.partition)
            self._counted[lane][record.offset] = noted.outcome


def _day(number: int) -> date:
    return datetime.fromtimestamp(number * 86_400, UTC).date()
