"""The one way to write to Kafka: idempotent, bounded in time, rebuilt when it wedges."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    KafkaError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    UnknownProducerId,
)
from aiokafka.partitioner import murmur2
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from shared.contracts.envelope import Headers
from shared.contracts.errors import PermanentError, TransientError
from shared.contracts.records import OutRecord
from shared.contracts.topics import Topic
from shared.deadlines import Deadlines
from shared.kafka.bounded import bounded
from shared.kafka.lingering import leave_together
from shared.kafka.settings import MAX_RECORD_BYTES, KafkaSettings
from shared.observability.metrics import Metrics

PUBLISH_TIMEOUT = timedelta(seconds=4)
TIMEOUTS_BEFORE_REBUILD = 3
_WEDGED = (
    OutOfOrderSequenceNumber,
    ProducerFenced,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    UnknownProducerId,
)
_MAX_BATCH_BYTES = 128 * 1024
# Room for the headers that a dead-letter copy adds.
_MAX_REQUEST_BYTES = MAX_RECORD_BYTES + 64 * 1024
_REQUEST_TIMEOUT_MS = 10_000
_CLOSE_TIMEOUT_SECONDS = 3.0

log = structlog.get_logger()


class PublishError(TransientError):
    """The records are not known to be durable; they may still arrive. Resend from the source."""


class Publisher:
    """An idempotent producer (`acks=all`) that never hangs and never stays wedged.

    aiokafka's producer can refuse every batch for ever after a broker outage (aiokafka#1017)
    and its batches never expire: on such an error, or after three timeouts in a row, it is
    dropped and a new one is built; what was in flight fails with PublishError.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        client_id: str,
        linger_ms: int = 0,
        metrics: Metrics | None = None,
    ) -> None:
        self._settings = settings
        self._client_id = client_id
        self._linger_ms = linger_ms
        self._metrics = metrics or Metrics()
        self._acked = self._metrics.published.labels("acked")
        self._producer: AIOKafkaProducer | None = None
        self._connected = asyncio.Event()
        self._broken = asyncio.Event()
        self._away = False
        self._closed = False
        self._timeouts = 0
        self._supervisor: asyncio.Task[None] | None = None
        # By identity (a topic is slow to hash); it is kept, so that its id is not given again.
        self._places: dict[int, tuple[Topic, list[TopicPartition]]] = {}
        self._deadlines = Deadlines()
        self.healthy = True

    @property
    def connected(self) -> bool:
        """Whether there is a producer now; it may still fail."""
        return self._producer is not None

    async def start(self) -> None:
        """Begin to connect; returns at once and keeps trying until closed."""
        self._supervisor = asyncio.create_task(self._supervise(), name="publisher")

    async def aclose(self) -> None:
        """Flush for a moment, then close the connections."""
        self._closed = True
        self._connected.set()
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await _close(producer)

    async def send(
        self,
        record: OutRecord,
        *,
        timeout: timedelta = PUBLISH_TIMEOUT,  # noqa: ASYNC109 - a budget
    ) -> asyncio.Future[None]:
        """Enqueue one record; awaiting the returned future gives its acknowledgement.

        Raises PublishError when it cannot be enqueued in time, PermanentError when it is too large.
        """
        started = time.monotonic()
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                ack = await self._enqueue(record)
        except (TimeoutError, KafkaError) as cause:
            raise self._failed(cause) from cause
        outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def settle(done: asyncio.Future[Any]) -> None:
            error = asyncio.CancelledError() if done.cancelled() else done.exception()
            if error is None:
                self._acknowledged(1, started)
            if outcome.done():
                return
            if error is None:
                outcome.set_result(None)
            else:
                outcome.set_exception(self._failed(error))

        ack.add_done_callback(settle)
        return outcome

    async def publish(
        self,
        records: Sequence[OutRecord],
        *,
        timeout: timedelta = PUBLISH_TIMEOUT,  # noqa: ASYNC109 - a budget, not a cancellation
    ) -> None:
        """Send in order, stop at the first error, then wait for all acknowledgements.

        Raises PublishError on any doubt: some of the records may be durable, a gap is possible.
        """
        started = time.monotonic()
        acks: list[asyncio.Future[Any]] = []
        try:
            with self._deadlines.within(timeout.total_seconds()):
                for record in records:
                    acks.append(await self._enqueue(record))  # noqa: PERF401 - stop at the first
                for ack in acks:
                    await ack
        except (TimeoutError, KafkaError) as cause:
            _forget(acks)
            raise self._failed(cause) from cause
        self._acknowledged(len(records), started)

    async def publish_runs(
        self,
        runs: Sequence[Sequence[OutRecord]],
        *,
        timeout: timedelta = PUBLISH_TIMEOUT,  # noqa: ASYNC109 - a budget, not a cancellation
    ) -> list[bool]:
        """Send independent runs, each in order and up to its first error.

        Returns for each run whether all of it was acknowledged. One pass, no task per record.
        """
        started = time.monotonic()
        acks: list[list[asyncio.Future[Any]]] = [[] for _ in runs]
        enqueued = [False] * len(runs)
        failure: BaseException | None = None
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                failure = await self._enqueue_runs(runs, acks, enqueued)
                for mine in acks:
                    for ack in mine:
                        try:
                            await ack
                        except KafkaError as error:
                            failure = error
        except TimeoutError as error:
            failure = error
        outcome = []
        acknowledged = 0
        for mine, complete in zip(acks, enqueued, strict=True):
            good = sum(map(_is_acked, mine))
            acknowledged += good
            outcome.append(complete and good == len(mine))
        if acknowledged:
            self._acknowledged(acknowledged, started)
        if failure is not None:
            for mine in acks:
                _forget(mine)
            self._failed(failure)
        return outcome

    async def _enqueue_runs(
        self,
        runs: Sequence[Sequence[OutRecord]],
        acks: list[list[asyncio.Future[Any]]],
        enqueued: list[bool],
    ) -> BaseException | None:
        failure: BaseException | None = None
        for position, run in enumerate(runs):
            mine = acks[position]
            try:
                for record in run:
                    mine.append(await self._enqueue(record))
            except (KafkaError, PermanentError) as error:
                failure = error
            except PublishError as error:
                return error
            else:
                enqueued[position] = True
        return failure

    async def _enqueue(self, record: OutRecord) -> asyncio.Future[Any]:
        producer = self._producer
        if producer is None:
            producer = await self._wait_connected()
        known = self._places.get(id(record.topic))
        places = await self._count(producer, record.topic) if known is None else known[1]
        key, value, headers = record.key, record.value, record.headers
        if _size(key, value, headers) > _MAX_REQUEST_BYTES:
            raise PermanentError("record_too_large", places[0].topic)
        # What `producer.send` does, without asking for the topic's partitions three times: a
        # third of what a record costs.
        ack: asyncio.Future[Any] = await producer._message_accumulator.add_message(  # noqa: SLF001
            _place(key, places), key, value, _REQUEST_TIMEOUT_MS / 1000, headers=headers
        )
        return ack

    async def _count(self, producer: AIOKafkaProducer, topic: Topic) -> list[TopicPartition]:
        """Its partitions, once for a producer: with others a key's order would be lost anyway."""
        name = self._settings.topic_name(topic)
        count = len(await producer.partitions_for(name))
        places = [TopicPartition(name, partition) for partition in range(count)]
        if producer is self._producer:
            self._places[id(topic)] = (topic, places)
        return places

    async def _wait_connected(self) -> AIOKafkaProducer:
        # While the broker is known to be away, callers learn it at once instead of piling up.
        while True:
            if self._closed or self._supervisor is None:
                raise PublishError("publisher is not running")
            if self._producer is not None:
                return self._producer
            if self._away:
                raise PublishError("kafka is away")
            await self._connected.wait()

    def _acknowledged(self, count: int, started: float) -> None:
        self.healthy = True
        self._timeouts = 0
        self._acked.inc(count)
        self._metrics.publish_seconds.observe(time.monotonic() - started)

    def _failed(self, cause: BaseException) -> PublishError:
        if isinstance(cause, PermanentError):
            return PublishError(str(cause))
        self.healthy = False
        if isinstance(cause, TimeoutError):
            self._metrics.published.labels("timeout").inc()
            self._timeouts += 1
            if self._timeouts >= TIMEOUTS_BEFORE_REBUILD:
                self._broken.set()
        else:
            self._metrics.published.labels("failed").inc()
            if isinstance(cause, _WEDGED) or self._sender_died():
                self._broken.set()
        return PublishError(type(cause).__name__)

    def _sender_died(self) -> bool:
        producer = self._producer
        return producer is not None and producer._sender.sender_task.done()  # noqa: SLF001 - no API

    async def _supervise(self) -> None:
        delay = 0.1
        while True:
            producer = AIOKafkaProducer(
                client_id=self._client_id,
                acks="all",
                enable_idempotence=True,
                linger_ms=self._linger_ms,
                max_batch_size=_MAX_BATCH_BYTES,
                max_request_size=_MAX_REQUEST_BYTES,
                request_timeout_ms=_REQUEST_TIMEOUT_MS,
                compression_type=self._settings.kafka_compression,
                **self._settings.client_options(),
            )
            if self._linger_ms:
                leave_together(producer._message_accumulator)  # noqa: SLF001 - no API
            try:
                async with asyncio.timeout(_REQUEST_TIMEOUT_MS / 1000):
                    await producer.start()
            except (TimeoutError, KafkaError, OSError) as error:
                self._away, self.healthy = True, False
                self._connected.set()
                self._connected.clear()
                log.warning("publisher.connect_failed", error=type(error).__name__, retry=delay)
                await _close(producer)
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                delay = min(delay * 2, 2.0)
                continue
            except BaseException:
                await _close(producer)
                raise
            delay = 0.1
            self._away, self.healthy, self._timeouts = False, True, 0
            self._producer = producer
            self._broken.clear()
            self._connected.set()
            await self._wait_broken()
            self._connected.clear()
            self._producer = None
            self._places.clear()
            reason = "sender_died" if producer._sender.sender_task.done() else "wedged"  # noqa: SLF001
            self._metrics.producer_rebuilds.labels(reason).inc()
            log.error("publisher.rebuilt", reason=reason)
            _fail_unanswered(producer)
            await _close(producer)

    async def _wait_broken(self) -> None:
        while not self._broken.is_set() and not self._sender_died():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._broken.wait()


# In Python the hash costs 3-5 us, and the keys of a moment are few.
_key_hash: Callable[[bytes], int] = lru_cache(maxsize=65_536)(murmur2)
_size: Callable[[bytes | None, bytes | None, Headers], int] = (
    DefaultRecordBatchBuilder.estimate_size_in_bytes
)


def _place(key: bytes | None, places: Sequence[TopicPartition]) -> TopicPartition:
    """The choice of Java's client and of aiokafka's DefaultPartitioner."""
    if key is None:
        return random.choice(places)  # noqa: S311 - spreads load
    return places[(_key_hash(key) & 0x7FFFFFFF) % len(places)]


async def _close(producer: AIOKafkaProducer) -> None:
    # stop() flushes first, which a wedged producer never finishes; a second call returns at once,
    # so what is left is closed by hand.
    if not await bounded("producer", producer.stop(), _CLOSE_TIMEOUT_SECONDS):
        task = producer._sender.sender_task  # noqa: SLF001 - no API
        if task is not None:
            task.cancel()
        await bounded("connections", producer.client.close(), _CLOSE_TIMEOUT_SECONDS)


def _fail_unanswered(producer: AIOKafkaProducer) -> None:
    # The batches of a dropped producer would stay unanswered for ever. Whoever gave up on one
    # does not ask any more: read the outcome for them, or it is reported as never retrieved.
    waiting = producer._message_accumulator  # noqa: SLF001 - no API
    batches = [b for queue in waiting._batches.values() for b in queue]  # noqa: SLF001
    batches += waiting._pending_batches  # noqa: SLF001
    waiting.fail_all(KafkaError("producer was dropped"))
    for batch in batches:
        for ack in (batch._drain_waiter, *(ack for ack, _ in batch._msg_futures)):  # noqa: SLF001
            _retrieve(ack)


def _is_acked(ack: asyncio.Future[Any]) -> bool:
    return ack.done() and not ack.cancelled() and ack.exception() is None


def _forget(acks: Sequence[asyncio.Future[Any]]) -> None:
    # Read every outcome, now or later, so that none is reported as never retrieved.
    for ack in acks:
        ack.add_done_callback(_retrieve)


def _retrieve(ack: asyncio.Future[Any]) -> None:
    if not ack.cancelled():
        ack.exception()
