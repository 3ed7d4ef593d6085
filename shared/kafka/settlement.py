"""What becomes of the records of a batch: handled, parked or dead-lettered, never skipped."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from typing import TypeVar

import structlog

from shared.contracts.errors import PermanentError, TransientError
from shared.contracts.records import InRecord
from shared.contracts.topics import Topic
from shared.kafka.accounts import RecordAccounts
from shared.kafka.dead_letters import dead_letter, dead_topic
from shared.kafka.failure import BEHIND, FailureTally, Rejected, rejected_by
from shared.kafka.parking import Handler
from shared.kafka.progress import Progress
from shared.kafka.runtime import ConsumerRuntime

log = structlog.get_logger()

_T = TypeVar("_T")
_FIRST_BACKOFF_SECONDS = 0.05
_LAST_BACKOFF_SECONDS = 5.0
# A lot that holds nothing is asked again only then: only its own consumer adds to it.
_EMPTY_LOT_SECONDS = 1.0


class AbandonedError(Exception):
    """The partitions went away or the process stops: the batch comes again to whoever has them."""


class HaltedError(Exception):
    """The failure policy says stop."""


class Settlement:
    """Takes batches through the handler until each record is done with, one way or another.

    `hold` is entered while a dependency is away: it keeps the member in its group.
    """

    def __init__(
        self,
        topic: Topic,
        *,
        lot: str,
        handler: Handler,
        runtime: ConsumerRuntime,
        progress: Progress,
        hold: Callable[[], contextlib.AbstractContextManager[None]],
        accounts: RecordAccounts | None = None,
    ) -> None:
        self.generation = 0
        self.holding = False
        self.stopping = False
        self._lot = lot
        self._name = runtime.settings.topic_name(topic)
        self._dead_topic = dead_topic(topic)
        self._handler = handler
        self._runtime = runtime
        self._progress = progress
        self._hold = hold
        self._accounts = accounts
        self._tally = FailureTally(runtime.policy)
        # Of the keys seen lately, those that are parked: for the metric only.
        self._parked: set[bytes] = set()
        self._lot_looked_at = 0.0
        self._lot_empty = False
        self._interrupt = asyncio.Event()
        self._handled = runtime.metrics.records.labels(self._name, "handled")
        self._paused = runtime.metrics.paused.labels(self._name)

    def revoke(self) -> None:
        """The partitions are lost: a batch that waits for a dependency is abandoned."""
        self.generation += 1
        self._lot_looked_at = 0.0
        self._interrupt.set()

    def stop(self) -> None:
        """The process stops: the same, for good."""
        self.stopping = True
        self._interrupt.set()

    async def settle(
        self,
        records: list[InRecord],
        generation: int,
        broken: Collection[tuple[int, int]] = (),
    ) -> None:
        """Return when every record is done with and may be committed.

        `broken` are (partition, offset) of records whose header keys could not be read.

        Raises AbandonedError and HaltedError: nothing of the batch may be committed.
        """
        if self.stopping:
            raise AbandonedError
        due = records
        parking = self._runtime.parking
        if parking is not None:
            due = await self._park_followers(records, generation)
        if broken:
            due = await self._reject_broken(due, broken, generation)
        if not due:
            return
        try:
            rejected = await self._retried(lambda: self._handler(due), generation)
        except (AbandonedError, HaltedError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, one record of them caused it
            log.warning(
                "batch.isolating", lot=self._lot, records=len(due), error=type(error).__name__
            )
            await self._isolate(due, generation)
            return
        dead = 0
        if rejected:
            dead = sum(1 for each in rejected if each.reason != BEHIND)
            await self._reject(rejected, generation)
        self._tally.handled(len(due) - dead)
        self._handled.inc(len(due) - dead)

    async def _park_followers(self, records: list[InRecord], generation: int) -> list[InRecord]:
        parking = self._runtime.parking
        assert parking is not None  # noqa: S101 - the caller asked
        keys = {record.key for record in records if record.key is not None}
        if not keys or await self._is_lot_empty(generation):
            return records
        parked = await self._retried(lambda: parking.parked(self._lot, keys), generation)
        if parked or self._parked:
            self._parked = (self._parked - keys) | parked
            self._runtime.metrics.parked_keys.labels(self._name).set(len(self._parked))
        if not parked:
            return records
        behind = [record for record in records if record.key in parked]
        await self._park(behind, BEHIND, generation)
        return [record for record in records if record.key not in parked]

    async def _is_lot_empty(self, generation: int) -> bool:
        parking = self._runtime.parking
        assert parking is not None  # noqa: S101 - the caller asked
        now = time.monotonic()
        if now - self._lot_looked_at > _EMPTY_LOT_SECONDS:
            found = await self._retried(lambda: parking.keys(self._lot, 1), generation)
            self._lot_empty = not found
            self._lot_looked_at = now
            if self._lot_empty:
                self._parked = set()
                self._runtime.metrics.parked_keys.labels(self._name).set(0)
        return self._lot_empty

    async def _reject_broken(
        self, due: list[InRecord], broken: Collection[tuple[int, int]], generation: int
    ) -> list[InRecord]:
        rejected: list[Rejected] = []
        poisoned: set[bytes | None] = set()
        rest: list[InRecord] = []
        for record in due:
            if (record.partition, record.offset) in broken:
                rejected.append(Rejected(record, "bad_header_key", stage="parse"))
                if record.key is not None and self._runtime.parking is not None:
                    poisoned.add(record.key)
            elif record.key in poisoned:
                rejected.append(Rejected(record, BEHIND))
            else:
                rest.append(record)
        await self._reject(rejected, generation)
        return rest

    async def _isolate(self, records: list[InRecord], generation: int) -> None:
        # One key at a time, its records in order: the first that fails is the poison.
        by_key: dict[tuple[int, bytes | int], list[InRecord]] = {}
        for record in records:
            # Records without a key have no order to keep: each stands alone.
            key = record.key if record.key is not None else record.offset
            by_key.setdefault((record.partition, key), []).append(record)
        for run in by_key.values():
            for position, record in enumerate(run):
                rejection = await self._alone(record, generation)
                if rejection is None:
                    self._tally.handled(1)
                    self._handled.inc()
                    continue
                await self._reject([rejection], generation)
                if self._runtime.parking is None:
                    continue
                await self._park(run[position + 1 :], BEHIND, generation)
                break

    async def _alone(self, record: InRecord, generation: int) -> Rejected | None:
        try:
            rejected = await self._retried(lambda: self._handler([record]), generation)
        except (AbandonedError, HaltedError):
            raise
        except Exception as error:
            rejection = rejected_by(record, error)
            if rejection.kind == "bug":
                log.exception("record.failed", lot=self._lot, **_where(record))
            return rejection
        return rejected[0] if rejected else None

    async def _reject(self, rejected: Sequence[Rejected], generation: int) -> None:
        metrics = self._runtime.metrics
        dead: list[Rejected] = []
        for each in rejected:
            if each.reason == BEHIND:
                continue
            stop = self._tally.rejected()
            if stop is not None:
                raise HaltedError(stop)
            dead.append(each)
            metrics.dead_letters.labels(self._name, each.stage, each.kind).inc()
            log.error(
                "record.rejected",
                lot=self._lot,
                reason=each.reason,
                stage=each.stage,
                kind=each.kind,
                **_where(each.record),
            )
        keyed = [each for each in rejected if each.record.key is not None]
        for reason in dict.fromkeys(each.reason for each in keyed):
            await self._park(
                [each.record for each in keyed if each.reason == reason], reason, generation
            )
        for each in dead:
            await self._bury(each, generation)
            alone = each.record.key is None or self._runtime.parking is None
            if self._accounts is not None and alone:
                self._accounts.set_aside(each.record, parked=False)

    async def _bury(self, rejected: Rejected, generation: int) -> None:
        publisher = self._runtime.publisher
        copy = dead_letter(self._dead_topic, rejected)
        try:
            await self._retried(lambda: publisher.publish([copy]), generation)
        except PermanentError:
            bare = dead_letter(self._dead_topic, rejected, with_value=False)
            await self._retried(lambda: publisher.publish([bare]), generation)

    async def _park(self, records: list[InRecord], reason: str, generation: int) -> None:
        parking = self._runtime.parking
        if parking is None or not records:
            return
        self._lot_empty = False
        await self._retried(lambda: parking.park(self._lot, records, reason=reason), generation)
        if self._accounts is not None:
            for record in records:
                self._accounts.set_aside(record, parked=True)
        self._runtime.metrics.parked_records.labels(self._name).inc(len(records))
        self._runtime.metrics.records.labels(self._name, "parked").inc(len(records))

    async def _retried(self, attempt: Callable[[], Awaitable[_T]], generation: int) -> _T:
        """Try until it is not a TransientError; the partitions are held meanwhile."""
        delay = _FIRST_BACKOFF_SECONDS
        try:
            return await attempt()
        except TransientError as error:
            cause = error
        with self._held():
            while True:
                self._runtime.metrics.batch_retries.labels(self._name).inc()
                log.warning(
                    "batch.held", lot=self._lot, error=type(cause).__name__, retry=round(delay, 2)
                )
                await self._back_off(delay, generation)
                delay = min(delay * 2, _LAST_BACKOFF_SECONDS)
                try:
                    return await attempt()
                except TransientError as error:
                    cause = error

    async def _back_off(self, delay: float, generation: int) -> None:
        ends = time.monotonic() + delay * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        while (left := ends - time.monotonic()) > 0:
            self._progress.held()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, 1.0)):
                    await self._interrupt.wait()
            self._interrupt.clear()
            if self.stopping or generation != self.generation:
                raise AbandonedError

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        self._paused.set(1)
        self.holding = True
        try:
            with self._hold():
                yield
        finally:
            self.holding = False
            self._paused.set(0)
            self._progress.held()


def _where(record: InRecord) -> dict[str, int]:
    return {"partition": record.partition, "offset": record.offset}
