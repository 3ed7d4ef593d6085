import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer

from shared.contracts.topics import INBOUND
from shared.kafka.idle_fetches import keep_idle_fetches
from shared.kafka.publisher import Publisher
from shared.kafka.settings import KafkaSettings
from tests.integration.kafka.kafka_rig import record, until

pytestmark = pytest.mark.integration

SHORT_MS, LONG_MS = 50, 60_000
GATHERED = 100_000


async def started(settings: KafkaSettings, *, min_bytes: int = 1) -> tuple[Any, list[Any]]:
    """A consumer of all partitions, and the fetches that it sends from now on."""
    consumer = AIOKafkaConsumer(
        settings.topic_name(INBOUND),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=SHORT_MS,
        fetch_min_bytes=min_bytes,
        **settings.client_options(),
    )
    await consumer.start()
    sent: list[Any] = []
    keep_idle_fetches(consumer._fetcher, wait_ms=LONG_MS)
    choose = consumer._fetcher._get_actions_per_node

    def watched(assignment: Any) -> Any:
        chosen = choose(assignment)
        sent.extend(request for _, request in chosen[0])
        return chosen

    consumer._fetcher._get_actions_per_node = watched
    return consumer, sent


async def read(consumer: AIOKafkaConsumer, *partitions: Any) -> list[bytes]:
    async with asyncio.timeout(LONG_MS / 1000 / 3):
        while True:
            fetched = await consumer.getmany(*partitions, timeout_ms=1000)
            if fetched:
                return [each.value for records in fetched.values() for each in records]


@pytest.mark.parametrize("min_bytes", [1, GATHERED])
async def test_an_idle_consumer_asks_once_and_is_told_at_once(
    settings: KafkaSettings, publisher: Publisher, min_bytes: int
) -> None:
    consumer, sent = await started(settings, min_bytes=min_bytes)
    try:
        await until(lambda: bool(sent) and sent[-1]._max_wait_ms == LONG_MS)
        asked = len(sent)
        await asyncio.sleep(4 * SHORT_MS / 1000)
        assert len(sent) == asked

        for key in ("a", "b", "c"):
            await publisher.publish([record(key, key.encode())])
            assert await read(consumer) == [key.encode()]
    finally:
        await consumer.stop()


async def test_a_partition_that_is_not_asked_for_waits_no_longer_than_before(
    settings: KafkaSettings, publisher: Publisher
) -> None:
    consumer, sent = await started(settings)
    try:
        await until(lambda: bool(sent) and sent[-1]._max_wait_ms == LONG_MS)
        await publisher.publish([record("a", b"1"), record("b", b"2")])
        await until(lambda: len(consumer._fetcher._records) == 2)
        first, second = list(consumer._fetcher._records)

        # What is not taken of one keeps it out of the fetches for the other.
        [one] = await read(consumer, first)
        asked = len(sent)
        await until(lambda: len(sent) > asked + 8)
        [other] = await read(consumer, second)
        key = "a" if other == b"1" else "b"
        await publisher.publish([record(key, b"3")])

        assert {one, other} == {b"1", b"2"}
        assert all(request._max_wait_ms == SHORT_MS for request in sent[asked : asked + 8])
        assert await read(consumer, second) == [b"3"]
    finally:
        await consumer.stop()
