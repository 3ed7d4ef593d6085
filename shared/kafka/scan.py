"""A topic read once from its beginning to its end, without a group."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2

from shared.contracts.errors import TransientError
from shared.contracts.records import InRecord
from shared.kafka.settings import MAX_RECORD_BYTES, KafkaSettings

_POLL_MS = 500


class ScanError(TransientError):
    """The broker did not answer, or there is no such topic."""


async def committed(settings: KafkaSettings, group: str, name: str) -> dict[int, int]:
    """The offsets that a group has committed, by partition. Raises ScanError."""
    admin = AIOKafkaAdminClient(client_id="atrio-scan", **settings.client_options())
    try:
        await admin.start()
        offsets = await admin.list_consumer_group_offsets(group)
    except (KafkaError, OSError, TimeoutError) as error:
        raise ScanError(type(error).__name__) from error
    finally:
        with contextlib.suppress(KafkaError, OSError):
            await admin.close()
    return {
        place.partition: found.offset
        for place, found in offsets.items()
        if place.topic == name and found.offset >= 0
    }


async def scan(
    settings: KafkaSettings,
    name: str,
    *,
    since: datetime | None = None,
    partition: int | None = None,
    key: bytes | None = None,
) -> AsyncGenerator[InRecord, None]:
    """Every record up to the ends as of now, those of a partition in order. Raises ScanError.

    `since`: from the first record of that time on. `partition`, or the one of a `key`: no other.
    """
    consumer = AIOKafkaConsumer(
        name,
        client_id="atrio-scan",
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=MAX_RECORD_BYTES,
        **settings.client_options(),
    )
    try:
        await consumer.start()
        partitions = consumer.assignment()
        if not partitions:
            raise ScanError("no_such_topic")
        ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
        wanted = _wanted(sorted(partitions), partition, key)
        consumer.pause(*(each for each in partitions if each not in wanted))
        left = {each for each in wanted if ends[each] > 0}
        if since is not None and left:
            at = int(since.timestamp() * 1000)
            firsts = await consumer.offsets_for_times(dict.fromkeys(left, at))
            for each in left:
                found = firsts.get(each)
                consumer.seek(each, ends[each] if found is None else found.offset)
        while left:
            fetched = await consumer.getmany(*left, timeout_ms=_POLL_MS)
            for place, messages in fetched.items():
                for m in messages:
                    if m.offset < ends[place]:
                        yield InRecord(
                            m.topic,
                            m.partition,
                            m.offset,
                            m.key,
                            m.value,
                            tuple(m.headers),
                            m.timestamp,
                        )
            left = {each for each in left if await consumer.position(each) < ends[each]}
    except (KafkaError, OSError, TimeoutError) as error:
        raise ScanError(type(error).__name__) from error
    finally:
        with contextlib.suppress(KafkaError, OSError):
            await consumer.stop()


def _wanted(
    places: Sequence[TopicPartition], partition: int | None, key: bytes | None
) -> Sequence[TopicPartition]:
    if key is not None:  # as the publisher chooses
        return [places[(murmur2(key) & 0x7FFFFFFF) % len(places)]]
    return [each for each in places if partition in (None, each.partition)]
