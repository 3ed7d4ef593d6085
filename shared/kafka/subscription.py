"""One subscription: batch in, handler, parked and dead-lettered what fails, explicit commit."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import structlog
from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from faststream.kafka import KafkaBroker
from faststream.kafka.subscriber.usecase import BatchSubscriber
from typing_extensions import override

from shared.contracts.errors import TransientError
from shared.contracts.records import InRecord
from shared.contracts.topics import Topic
from shared.kafka.accounts import RecordAccounts
from shared.kafka.bounded import bounded
from shared.kafka.consumer import GuardedConsumer
from shared.kafka.failure import Rejected
from shared.kafka.parking import Handler
from shared.kafka.progress import Progress
from shared.kafka.runtime import ConsumerRuntime
from shared.kafka.settlement import AbandonedError, HaltedError, Settlement

log = structlog.get_logger()

_START_LIMIT_SECONDS = 60.0
_WATCH_SECONDS = 1.0
_COMMIT_LIMIT_SECONDS = 5.0
_SLOW_SECONDS = 1.0
# A commit is a round trip of the hot loop and a write of the broker: several batches share one.
_COMMIT_EVERY_SECONDS = 0.2
# Accounts are a write of their own; what is not kept when the process dies comes again.
_KEEP_EVERY_SECONDS = 0.5
# A revoked partition waits so long for the batch in hand, well below the rebalance timeout.
_DRAIN_SECONDS = 5.0


class PartitionListener(Protocol):
    """Told which partitions a subscription owns, for services that keep state by partition.

    Both return at once. A rebalance revokes everything, then assigns the whole new set.
    """

    def revoked(self) -> None:
        """Nothing is owned until the next assignment; the batch in hand is done."""

    def assigned(self, partitions: frozenset[int]) -> None:
        """Exactly these are owned now; called before their records are handled."""


class Subscription(ConsumerRebalanceListener):  # type: ignore[misc]
    """The life of one consumer of one topic in one group.

    It is FastStream's batch handler, aiokafka's rebalance listener and the watchdog of both.
    """

    def __init__(
        self,
        topic: Topic,
        *,
        group: str,
        handler: Handler,
        runtime: ConsumerRuntime,
        listener: PartitionListener | None = None,
        accounts: RecordAccounts | None = None,
    ) -> None:
        self.topic = topic
        self.group = group
        self.name = runtime.settings.topic_name(topic)
        self.lot = f"{group}:{self.name}"
        self.subscriber: BatchSubscriber | None = None
        self.broker: KafkaBroker | None = None
        self.progress = Progress(runtime.settings.kafka_progress_limit)
        self.joined = False
        self.handler = handler
        self._runtime = runtime
        self._listener = listener
        self._accounts = accounts
        self._work = Settlement(
            topic,
            lot=self.lot,
            handler=handler,
            runtime=runtime,
            progress=self.progress,
            hold=self._hold,
            accounts=accounts,
        )
        self._idle = asyncio.Event()
        self._idle.set()
        self._halt_reason: str | None = None
        self._uncommitted: dict[TopicPartition, int] = {}
        self._commit_due = 0.0
        # Done with, but not in the accounts yet.
        self._unkept: dict[TopicPartition, int] = {}
        self._keep_due = 0.0
        self._keeping: asyncio.Task[None] | None = None
        metrics = runtime.metrics
        self._age = metrics.hop_age.labels(self.name)
        self._sizes = metrics.batch_size.labels(self.name)
        self._seconds = metrics.batch_seconds.labels(self.name)
        self._lag = metrics.lag.labels(self.name)

    # --- the batch ---

    async def on_batch(self, messages: Sequence[ConsumerRecord[Any, Any]]) -> None:
        """Handle a batch and let it be committed; nothing is when it is abandoned."""
        started = time.perf_counter()
        if self._halt_reason is not None:
            return
        generation = self._work.generation
        self._idle.clear()
        try:
            records = [
                InRecord(m.topic, m.partition, m.offset, m.key, m.value, m.headers, m.timestamp)
                for m in messages
            ]
            await self._work.settle(records, generation, self._broken())
            if generation != self._work.generation:
                raise AbandonedError  # noqa: TRY301 - one place tells it
            self._done(records)
        except AbandonedError:
            log.info("batch.abandoned", lot=self.lot, records=len(messages))
            return
        except HaltedError as halt:
            self._halt(str(halt))
            return
        except Exception:
            # Parking or publishing broke in a way nobody classified: keep the records, stop.
            log.exception("batch.broke", lot=self.lot, records=len(messages))
            self._halt("consumer_bug")
            return
        finally:
            self._idle.set()
        self.progress.moved()
        seconds = time.perf_counter() - started
        age = max(0.0, time.time() - records[0].timestamp_ms / 1000)
        self._sizes.observe(len(messages))
        self._seconds.observe(seconds)
        self._age.observe(age)
        # Hundreds a second at low load: the metrics have them all, the log the slow ones.
        tell = log.info if seconds > _SLOW_SECONDS else log.debug
        tell(
            "batch.handled",
            lot=self.lot,
            records=len(messages),
            seconds=round(seconds, 4),
            age=round(age, 3),
        )

    def _done(self, records: Sequence[InRecord]) -> None:
        last = {record.partition: record.offset for record in records}
        offsets = {TopicPartition(self.name, each): offset + 1 for each, offset in last.items()}
        if self._accounts is None:
            self._uncommitted |= offsets
        else:
            self._accounts.settled(records)
            self._unkept |= offsets

    async def replay(self, records: Sequence[InRecord]) -> Sequence[Rejected] | None:
        """The handler, for records that were parked."""
        rejected = await self.handler(records)
        if self._accounts is not None and not rejected:
            for record in records:
                await self._accounts.released(record)
        return rejected

    @property
    def owned(self) -> frozenset[int]:
        """The partitions that this consumer has now."""
        consumer = self._consumer
        if consumer is None or not self.joined:
            return frozenset()
        return frozenset(each.partition for each in consumer.assignment())

    # --- offsets ---

    def _begin_keeping(self) -> None:
        """The accounts are written beside the next batches: a round trip that nobody waits for."""
        busy = self._keeping is not None and not self._keeping.done()
        if self._unkept and not busy and time.monotonic() >= self._keep_due:
            self._keep_due = time.monotonic() + _KEEP_EVERY_SECONDS
            self._keeping = asyncio.create_task(self._keep(), name=f"accounts {self.lot}")

    async def _keep(self) -> None:
        accounts, offsets = self._accounts, dict(self._unkept)
        if accounts is None or not offsets:
            return
        try:
            await accounts.keep()
        except TransientError as error:
            log.warning("accounts.not_kept", lot=self.lot, error=str(error))
            return
        except Exception:
            log.exception("accounts.broke", lot=self.lot)
            self._halt("accounts_bug")
            return
        self._uncommitted |= offsets
        self._unkept = {
            place: offset for place, offset in self._unkept.items() if offset != offsets.get(place)
        }

    async def _keep_all(self) -> None:
        """Before the partitions go: what is not kept is not committed, and comes again."""
        begun, self._keeping = self._keeping, None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_COMMIT_LIMIT_SECONDS):
                if begun is not None:
                    await begun
                await self._keep()

    async def _commit(self) -> None:
        consumer = self._consumer
        if consumer is None or not self._uncommitted:
            return
        self._commit_due = time.monotonic() + _COMMIT_EVERY_SECONDS
        offsets, self._uncommitted = self._uncommitted, {}
        try:
            async with asyncio.timeout(_COMMIT_LIMIT_SECONDS):
                await consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError):
            # Lost to another member: the records come again, to it.
            self._runtime.metrics.commit_failures.labels(self.name).inc()
            log.warning("batch.commit_refused", lot=self.lot)
        except (KafkaError, TimeoutError) as error:
            # Kept: a later turn of the poll loop commits it.
            self._uncommitted = offsets | self._uncommitted
            self._runtime.metrics.commit_failures.labels(self.name).inc()
            log.warning("batch.commit_failed", lot=self.lot, error=type(error).__name__)

    @property
    def _consumer(self) -> GuardedConsumer | None:
        consumer = self.subscriber.consumer if self.subscriber is not None else None
        return consumer if isinstance(consumer, GuardedConsumer) else None

    def _broken(self) -> set[tuple[int, int]]:
        consumer = self._consumer
        if consumer is None or not consumer.broken_headers:
            return set()
        broken, consumer.broken_headers = consumer.broken_headers, set()
        return broken

    def _hold(self) -> contextlib.AbstractContextManager[None]:
        consumer = self._consumer
        return contextlib.nullcontext() if consumer is None else consumer.held()

    # --- what aiokafka tells ---

    async def polled(self, consumer: GuardedConsumer) -> None:
        """One turn of the poll loop."""
        if self.progress.polled():
            self.progress.scanned(consumer.positions())
            self._lag.set(consumer.lag())
        if self._halt_reason is not None:
            await asyncio.Event().wait()  # read no more, until the watchdog has stopped the loop
        self._begin_keeping()
        if time.monotonic() >= self._commit_due:
            await self._commit()

    async def leaving(self) -> None:
        """The consumer is about to leave its group: what is done is committed first."""
        await self._keep_all()
        await self._commit()

    @override
    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        if not self._work.holding and not self._idle.is_set():
            # The batch in hand commits before the partitions go: nobody repeats it.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_SECONDS):
                    await self._idle.wait()
        await self._keep_all()
        await self._commit()
        self._work.revoke()
        if self._listener is not None:
            self._listener.revoked()

    @override
    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        owned = frozenset(each.partition for each in assigned)
        if self._listener is not None:
            self._listener.assigned(owned)
        self._uncommitted, self._unkept = {}, {}
        self.joined = True
        self._runtime.metrics.rebalances.labels(self.name).inc()
        self.progress.started()
        log.info("consumer.assigned", lot=self.lot, partitions=len(owned))

    # --- life ---

    def stalled(self) -> str | None:
        """Why the process should be restarted, or None."""
        if self._halt_reason is not None:
            return self._halt_reason
        return self.progress.stalled()

    def _halt(self, reason: str) -> None:
        self._halt_reason = reason
        self._runtime.metrics.consumer_stopped.labels(self.name).set(1)
        self._runtime.halted.set()
        log.critical("consumer.halted", lot=self.lot, reason=reason)

    async def run(self) -> None:
        """Start, watch and restart until cancelled or halted."""
        delay = 0.2
        while self._halt_reason is None:
            try:
                await self._start()
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning(
                    "consumer.start_failed", lot=self.lot, error=type(error).__name__, retry=delay
                )
                await self._stop_subscriber(1.0)
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                delay = min(delay * 2, 2.0)
                continue
            delay = 0.2
            reason = await self._watch()
            if reason is None:
                break
            self.progress.restarting()
            self._runtime.metrics.consumer_restarts.labels(self.name, reason).inc()
            log.error("consumer.restarting", lot=self.lot, reason=reason)
            await self._stop_subscriber(_DRAIN_SECONDS)
        await self._stop_subscriber(_DRAIN_SECONDS)

    async def _start(self) -> None:
        subscriber, broker = self.subscriber, self.broker
        if subscriber is None or broker is None:
            raise RuntimeError("subscribe() was not called")
        self.joined = False
        self.progress.starting()
        async with asyncio.timeout(_START_LIMIT_SECONDS):
            await broker.connect()
            await subscriber.start()
        # No await between: the poll loop's first turn already finds its owner.
        consumer = self._consumer
        if consumer is not None:
            consumer.owner = self
        self.progress.started()

    async def _watch(self) -> str | None:
        """Wait until the consumer needs a restart and say why; None when it halted."""
        while self._halt_reason is None:
            await asyncio.sleep(_WATCH_SECONDS)
            subscriber = self.subscriber
            if subscriber is None or all(task.done() for task in subscriber.tasks):
                return "loop_ended"
            consumer = self._consumer
            if consumer is None:
                continue
            if self.progress.wants_ends():
                await self._look_at_ends(consumer)
            if self.progress.idle_with_lag():
                return "idle_with_lag"
        return None

    async def _look_at_ends(self, consumer: GuardedConsumer) -> None:
        assigned = consumer.assignment()
        if not assigned:
            self.progress.moved()
            return
        try:
            async with asyncio.timeout(5):
                ends = await consumer.end_offsets(assigned)
        except (KafkaError, OSError, TimeoutError):
            self.progress.unreachable()
            return
        positions = consumer.positions()
        self.progress.looked(
            behind=any(end > positions.get(partition, 0) for partition, end in ends.items())
        )

    async def stop(self, limit: float) -> None:
        """Finish the batch in hand, commit, leave the group."""
        self._work.stop()
        await self._stop_subscriber(limit)

    async def _stop_subscriber(self, limit: float) -> None:
        if self.subscriber is not None:
            await bounded("subscriber", self.subscriber.stop(), limit)
