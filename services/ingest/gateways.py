"""The quarantine topic as one member of the re-driving group reads it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from shared.contracts.errors import TransientError
from shared.contracts.records import InRecord
from shared.contracts.topics import QUARANTINE
from shared.kafka.settings import MAX_RECORD_BYTES, KafkaSettings

GROUP = "ingest-redrive"
_POLL_MS = 500
_MAX_RECORDS = 200


class QuarantineError(TransientError):
    """The broker did not answer, or the group moved on."""


class QuarantineLog:
    """Reads own partitions from the last commit; any range again, beside that.

    The wrapper for subscriptions commits what a handler took; here the committed offset is the
    oldest record that still waits, and what lies behind it is read again after a rebalance.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._topic = settings.topic_name(QUARANTINE)
        self._consumer: AIOKafkaConsumer | None = None

    async def open(self) -> None:
        """Join the group. Raises QuarantineError."""
        self._consumer = AIOKafkaConsumer(
            self._topic,
            client_id=GROUP,
            group_id=self._settings.topic_prefix + GROUP,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=MAX_RECORD_BYTES,
            session_timeout_ms=int(self._settings.kafka_session_timeout.total_seconds() * 1000),
            **self._settings.client_options(),
        )
        with _transient():
            await self._consumer.start()

    async def aclose(self) -> None:
        """Leave the group."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(KafkaError, OSError):
                await consumer.stop()

    async def poll(self) -> Sequence[InRecord]:
        """The next records, or none after half a second. Raises QuarantineError."""
        with _transient():
            fetched = await self._member().getmany(timeout_ms=_POLL_MS, max_records=_MAX_RECORDS)
        return [_record(one) for records in fetched.values() for one in records]

    def owned(self) -> set[int]:
        """The partitions that this member has now."""
        return {one.partition for one in self._member().assignment()}

    async def at_end(self) -> dict[int, int]:
        """The position of each own partition that is read to its end. Raises QuarantineError."""
        consumer = self._member()
        found = {}
        with _transient():
            for partition in consumer.assignment():
                end = consumer.highwater(partition)
                if end is not None and (position := await consumer.position(partition)) >= end:
                    found[partition.partition] = position
        return found

    async def commit(self, positions: dict[int, int]) -> None:
        """Commit where each partition must be read from. Raises QuarantineError."""
        offsets = {TopicPartition(self._topic, number): at for number, at in positions.items()}
        with _transient():
            await self._member().commit(offsets)

    async def between(self, partition: int, first: int, last: int) -> AsyncIterator[InRecord]:
        """The records of a range, both ends included. Raises QuarantineError."""
        place = TopicPartition(self._topic, partition)
        reader = AIOKafkaConsumer(
            client_id=GROUP,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=MAX_RECORD_BYTES,
            **self._settings.client_options(),
        )
        try:
            with _transient():
                await reader.start()
                reader.assign([place])
                reader.seek(place, first)
                while await reader.position(place) <= last:
                    fetched = await reader.getmany(timeout_ms=_POLL_MS, max_records=_MAX_RECORDS)
                    for one in fetched.get(place, ()):
                        if one.offset <= last:
                            yield _record(one)
        finally:
            with contextlib.suppress(KafkaError, OSError):
                await reader.stop()

    def _member(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise QuarantineError("the group was not joined")
        return self._consumer


@contextlib.contextmanager
def _transient() -> Iterator[None]:
    try:
        yield
    except (KafkaError, OSError, TimeoutError) as error:
        raise QuarantineError(type(error).__name__) from error


def _record(one: ConsumerRecord[Any, Any]) -> InRecord:
    return InRecord(
        one.topic, one.partition, one.offset, one.key, one.value, tuple(one.headers), one.timestamp
    )
