"""The aiokafka consumer under FastStream: it ticks, survives broker trouble and can be held."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from typing import Any, Protocol

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import ConsumerStoppedError, CorruptRecordException, KafkaError
from typing_extensions import override

from shared.kafka.idle_fetches import keep_idle_fetches
from shared.kafka.lenient import fetch_leniently

log = structlog.get_logger()

_POLL_MS = 250
_ERROR_PAUSE_SECONDS = 0.5
_IDLE_FETCH_MS = 1000


class Owner(Protocol):
    """Whom a consumer tells that its loop is alive."""

    async def polled(self, consumer: GuardedConsumer) -> None:
        """Called on every turn of the poll loop, before it waits."""
        ...

    async def leaving(self) -> None:
        """Called before the consumer leaves its group, in an orderly stop."""
        ...


class GuardedConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """Waits for records itself, so that FastStream's loop neither sleeps nor ends.

    FastStream 0.7.8 sleeps 5 s on a KafkaError and `batch_timeout_ms` on an empty poll: here an
    empty poll is repeated inside `getmany`, and a KafkaError waits half a second.
    """

    owner: Owner | None = None

    def __init__(self, *topics: str, **options: Any) -> None:
        super().__init__(*topics, **options)
        # (partition, offset) of records returned whose header keys were not UTF-8.
        self.broken_headers: set[tuple[int, int]] = set()

    @override
    async def start(self) -> None:
        await super().start()
        keep_idle_fetches(self._fetcher, wait_ms=_IDLE_FETCH_MS)

    @override
    async def stop(self) -> None:
        if self.owner is not None:
            await self.owner.leaving()
        await super().stop()

    @override
    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: float = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[Any]]:
        """Records of at least one partition, however long it takes; see `_poll` for errors.

        What lies in the buffer was fetched when the batch before began, and nothing else since
        (aiokafka asks a broker again only when all of it is taken). So up to `timeout_ms` is given
        to what came meanwhile, else every record would wait for one batch more.
        """
        while True:
            if self.owner is not None:
                await self.owner.polled(self)
            fetched_before = bool(self._fetcher._records)  # noqa: SLF001 - no API
            fetched = await self._poll(partitions, _POLL_MS, max_records)
            room = None if max_records is None else max_records - sum(map(len, fetched.values()))
            if fetched and fetched_before and timeout_ms and room != 0:
                assignment = self._assigned()
                more = await self._poll(partitions, timeout_ms, room)
                if assignment is not self._assigned():
                    # Read anew from the committed offsets, here or elsewhere.
                    fetched = {}
                for partition, records in more.items():
                    fetched.setdefault(partition, []).extend(records)
            if fetched:
                return fetched

    def _assigned(self) -> object:
        subscription = self._subscription.subscription
        return None if subscription is None else subscription.assignment

    async def _poll(
        self, partitions: tuple[TopicPartition, ...], timeout_ms: float, max_records: int | None
    ) -> dict[TopicPartition, list[Any]]:
        """One look into the buffer; nothing after `timeout_ms`, or behind an error's pause."""
        try:
            # Inside, aiokafka waits for a new assignment without a limit.
            async with asyncio.timeout(timeout_ms / 1000 + 1):
                found: dict[TopicPartition, list[Any]] = await super().getmany(
                    *partitions, timeout_ms=timeout_ms, max_records=max_records
                )
                return found
        except TimeoutError:
            return {}
        except (UnicodeDecodeError, CorruptRecordException) as error:
            return await self._read_leniently(error)
        except KafkaError as error:
            if self._coordination_ended():
                # Nothing joins the group again: end the loop, the watchdog starts anew.
                raise ConsumerStoppedError from error
            log.warning("consumer.poll_failed", error=type(error).__name__)
            await asyncio.sleep(_ERROR_PAUSE_SECONDS)
            return {}

    async def _read_leniently(self, cause: Exception) -> dict[TopicPartition, list[Any]]:
        # The parser's generator ended by an error: that partition holds the record.
        found: dict[TopicPartition, list[Any]] = {}
        for partition, result in list(self._fetcher._records.items()):  # noqa: SLF001 - no API
            pending = getattr(result, "_partition_records", None)
            ended = pending is not None and pending._records_iterator.gi_frame is None  # noqa: SLF001
            position = self.positions().get(partition)
            if not ended or position is None:
                continue
            del self._fetcher._records[partition]  # noqa: SLF001
            try:
                records, broken, following = await fetch_leniently(
                    self._client, partition, position, self._max_partition_fetch_bytes
                )
            except KafkaError as error:
                log.warning("consumer.poll_failed", error=type(error).__name__)
                continue
            if not broken:
                # Corrupt in another way: nothing is skipped, the watchdog will tell.
                log.error("consumer.records_corrupt", error=type(cause).__name__)
                await asyncio.sleep(_ERROR_PAUSE_SECONDS)
                continue
            if self.positions().get(partition) == position:
                self.seek(partition, following)
                self.broken_headers |= {(partition.partition, offset) for offset in broken}
                found[partition] = records
        return found

    def _coordination_ended(self) -> bool:
        task = getattr(self._coordinator, "_coordination_task", None)
        return task is not None and task.done()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Count as polling while a batch waits for a dependency.

        Nothing is fetched meanwhile (the buffers are full), heartbeats go on, and
        `max_poll_interval_ms` does not throw the member out of its group.
        """
        subscription = self._subscription
        subscription._fetch_count += 1  # noqa: SLF001 - fetch_context() leaks when it is left by an error
        try:
            yield
        finally:
            subscription._fetch_count -= 1  # noqa: SLF001
            subscription._last_fetch_ended = time.monotonic()  # noqa: SLF001

    def lag(self) -> int:
        """Records behind the end over the assigned partitions, as of the last fetches."""
        behind = 0
        subscription = self._subscription.subscription
        if subscription is None or subscription.assignment is None:
            return 0
        assignment = subscription.assignment
        for partition in assignment.tps:
            state = assignment.state_value(partition)
            if state is not None and state.has_valid_position and state.highwater is not None:
                behind += max(0, state.highwater - state.position)
        return behind

    def positions(self) -> dict[TopicPartition, int]:
        """The next offset of every assigned partition that has one."""
        subscription = self._subscription.subscription
        if subscription is None or subscription.assignment is None:
            return {}
        assignment = subscription.assignment
        found = {}
        for partition in assignment.tps:
            state = assignment.state_value(partition)
            if state is not None and state.has_valid_position:
                found[partition] = state.position
        return found
