"""The partitions of this pod: what is open in them is loaded, what comes in joins it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

import structlog

from services.delivery.model import CallRecord, EventNote, SendRecord
from services.delivery.storage import CallRecords, SendRecords
from services.delivery.workflows.clock import Pause
from shared.contracts.errors import TransientError

log = structlog.get_logger()

OpenCalls = Sequence[tuple[CallRecord, EventNote | None]]


class Ownership:
    """Which partitions are owned, and which of them are loaded.

    New records of a partition wait until its open records are loaded: otherwise a chat's new
    message could go before an older one.
    """

    def __init__(self, *, sends: SendRecords, calls: CallRecords, partitions: int) -> None:
        self._sends = sends
        self._calls = calls
        self._partitions = partitions
        self._owned: frozenset[int] = frozenset()
        self._loaded: set[int] = set()
        self._waiting: list[SendRecord] = []
        self._doubtful: list[SendRecord] = []
        self._waiting_calls: list[CallRecord] = []
        self._generation = 0
        self._changed = asyncio.Event()
        self.on_records: Callable[[Sequence[SendRecord]], None] = _ignore
        self.on_known: Callable[[Sequence[str]], None] = _ignore
        self.on_calls: Callable[[OpenCalls], None] = _ignore
        self.on_lost: Callable[[frozenset[int]], None] = _ignore
        self.on_share: Callable[[float], None] = _ignore

    def owned(self) -> frozenset[int]:
        """The partitions whose records are in this pod's lanes."""
        return frozenset(self._loaded)

    def owns(self, partition: int) -> bool:
        """Whether this pod sends the records of this partition now."""
        return partition in self._loaded

    @property
    def settled(self) -> bool:
        """Whether everything that is owned is loaded."""
        return self._owned <= self._loaded

    def assign(self, partitions: Iterable[int]) -> None:
        """These are the pod's partitions from now on, and no others."""
        self._generation += 1
        owned = frozenset(partitions)
        lost = frozenset(self._loaded) - owned
        if lost:
            self._loaded -= lost
            self.on_lost(lost)
        self._owned = owned
        self._waiting = [r for r in self._waiting if r.partition in owned]
        self._doubtful = [r for r in self._doubtful if r.partition in owned]
        self._waiting_calls = [r for r in self._waiting_calls if r.partition in owned]
        if owned:
            self.on_share(len(owned) / self._partitions)
        self._changed.set()

    def revoke_all(self) -> None:
        """The group rebalances: nothing is owned until it is assigned again."""
        self.assign(())

    def reload(self) -> None:
        """Forget what is loaded; it is read again. For a sender that starts anew."""
        lost, self._loaded = frozenset(self._loaded), set()
        self.on_lost(lost)
        self._changed.set()

    def stored(
        self,
        records: Sequence[SendRecord],
        *,
        known: Sequence[SendRecord],
        calls: Sequence[CallRecord],
    ) -> None:
        """Records were stored just now; `known` were there already, in whatever state."""
        self.on_records([r for r in records if r.partition in self._loaded])
        self.on_known([r.id for r in known if r.partition in self._loaded])
        self.on_calls([(r, None) for r in calls if r.partition in self._loaded])
        loading = self._owned - self._loaded
        if loading:
            self._waiting.extend(r for r in records if r.partition in loading)
            self._doubtful.extend(r for r in known if r.partition in loading)
            self._waiting_calls.extend(r for r in calls if r.partition in loading)

    async def run(self) -> None:
        """Load what is assigned, as long as it takes."""
        pause = Pause()
        while True:
            self._changed.clear()
            wanted = self._owned - self._loaded
            generation = self._generation
            if not wanted:
                await self._changed.wait()
                continue
            try:
                records = await self._sends.open_records(wanted)
                calls = await self._calls.open_records(wanted)
            except TransientError as error:
                log.warning("partitions.load_failed", error=str(error))
                await pause.wait()
                continue
            pause.reset()
            # Assigned anew meanwhile: another pod may have stored more in between.
            if generation == self._generation:
                self._take(wanted, records, calls)

    def _take(
        self, loaded: frozenset[int], records: Sequence[SendRecord], calls: OpenCalls
    ) -> None:
        # No await in here: nothing can come between the loaded and the waiting ones.
        self._loaded |= loaded
        self.on_records([r for r in records if r.partition in loaded])
        self.on_calls([(r, event) for r, event in calls if r.partition in loaded])
        waiting, self._waiting = self._waiting, []
        doubtful, self._doubtful = self._doubtful, []
        new_calls, self._waiting_calls = self._waiting_calls, []
        self.stored(waiting, known=doubtful, calls=new_calls)
        log.info("partitions.loaded", partitions=len(loaded), sends=len(records), calls=len(calls))


def _ignore(_what: object) -> None:
    pass
