"""A compacted topic held in memory: read from the beginning, then followed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from shared.contracts.errors import PermanentError
from shared.contracts.records import InRecord
from shared.contracts.topics import Topic
from shared.kafka.bounded import bounded
from shared.kafka.settings import MAX_RECORD_BYTES, KafkaSettings
from shared.observability.metrics import Metrics

log = structlog.get_logger()

_POLL_MS = 500
_CLOSE_TIMEOUT_SECONDS = 3.0


class CompactedTable:
    """Feeds every record of a compacted topic to `apply`, oldest first in each partition.

    No group: every process reads all partitions. After a broker outage it goes on where it was.
    A record whose `apply` raises is counted (`skipped` for a PermanentError, else `bug`) and
    skipped: one bad entry must not keep a service from starting.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topic: Topic,
        apply: Callable[[InRecord], None],
        *,
        on_change: Callable[[Sequence[InRecord]], None] | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._settings = settings
        self._name = settings.topic_name(topic)
        self._apply = apply
        self._on_change = on_change
        self._metrics = metrics or Metrics()
        self._positions: dict[TopicPartition, int] = {}
        self._caught_up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def caught_up(self) -> bool:
        """Whether everything up to the ends as of the start or last reconnect has been applied."""
        return self._caught_up.is_set()

    async def start(self) -> None:
        """Begin to read; returns at once."""
        self._task = asyncio.create_task(self._follow(), name=f"table {self._name}")

    async def aclose(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def wait_caught_up(self, timeout: timedelta) -> None:  # noqa: ASYNC109 - the caller's budget
        """Wait until `caught_up`. Raises TimeoutError."""
        async with asyncio.timeout(timeout.total_seconds()):
            await self._caught_up.wait()

    async def _follow(self) -> None:
        delay = 0.1
        while True:
            consumer = AIOKafkaConsumer(
                self._name,
                client_id="atrio-table",
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                fetch_max_wait_ms=_POLL_MS,
                max_partition_fetch_bytes=MAX_RECORD_BYTES,
                **self._settings.client_options(),
            )
            try:
                await consumer.start()
                await self._read(consumer)
            except (KafkaError, OSError, TimeoutError) as error:
                self._set_caught_up(value=False)
                log.warning(
                    "table.reconnecting", topic=self._name, error=type(error).__name__, retry=delay
                )
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                delay = min(delay * 2, 2.0)
            finally:
                await bounded("table", consumer.stop(), _CLOSE_TIMEOUT_SECONDS)

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        partitions = sorted(consumer.assignment())
        if not partitions:
            raise KafkaError(f"{self._name} does not exist")
        for partition in partitions:
            if partition in self._positions:
                consumer.seek(partition, self._positions[partition])
        ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
        while True:
            if ends:
                for partition in list(ends):
                    if await consumer.position(partition) >= ends[partition]:
                        del ends[partition]
                if not ends:
                    self._set_caught_up(value=True)
                    log.info("table.caught_up", topic=self._name)
            fetched = await consumer.getmany(timeout_ms=_POLL_MS)
            for partition, messages in fetched.items():
                self._take(partition, messages)

    def _take(self, partition: TopicPartition, messages: Sequence[Any]) -> None:
        changed = []
        outcomes = {"applied": 0, "skipped": 0, "bug": 0}
        for m in messages:
            record = InRecord(
                m.topic, m.partition, m.offset, m.key, m.value, m.headers, m.timestamp
            )
            outcome = self._applied(record)
            outcomes[outcome] += 1
            if outcome == "applied":
                changed.append(record)
            self._positions[partition] = record.offset + 1
        for outcome, count in outcomes.items():
            if count:
                self._metrics.table_records.labels(self._name, outcome).inc(count)
        if changed and self._on_change is not None:
            self._on_change(changed)

    def _applied(self, record: InRecord) -> str:
        where = {"topic": self._name, "partition": record.partition, "offset": record.offset}
        try:
            self._apply(record)
        except PermanentError as error:
            log.error("table.record_skipped", reason=error.reason, **where)  # noqa: TRY400 - expected
            return "skipped"
        except Exception:
            log.exception("table.record_failed", **where)
            return "bug"
        return "applied"

    def _set_caught_up(self, *, value: bool) -> None:
        if value:
            self._caught_up.set()
        else:
            self._caught_up.clear()
        self._metrics.table_caught_up.labels(self._name).set(value)
