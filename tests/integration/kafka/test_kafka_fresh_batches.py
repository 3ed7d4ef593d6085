from typing import Any

import pytest

from shared.contracts.topics import INBOUND
from shared.kafka.consumer import GuardedConsumer
from shared.kafka.publisher import Publisher
from shared.kafka.settings import KafkaSettings
from tests.integration.kafka.kafka_rig import record, until

pytestmark = pytest.mark.integration


def values(fetched: dict[Any, list[Any]]) -> list[bytes]:
    return [each.value for records in fetched.values() for each in records]


@pytest.mark.parametrize(
    ("max_records", "batch"),
    [
        pytest.param(500, [b"2", b"3"], id="room for more"),
        pytest.param(1, [b"2"], id="no room"),
    ],
)
async def test_a_batch_has_what_came_while_the_one_before_was_handled(
    settings: KafkaSettings, publisher: Publisher, max_records: int, batch: list[bytes]
) -> None:
    consumer = GuardedConsumer(
        settings.topic_name(INBOUND),
        group_id=f"{settings.topic_prefix}fresh",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        **settings.client_options(),
    )
    await consumer.start()
    try:
        await publisher.publish([record("a", b"1")])
        assert values(await consumer.getmany(timeout_ms=5, max_records=500)) == [b"1"]
        await publisher.publish([record("a", b"2")])
        await until(lambda: bool(consumer._fetcher._records))
        await publisher.publish([record("a", b"3")])

        found = values(await consumer.getmany(timeout_ms=5000, max_records=max_records))

        assert found == batch
    finally:
        await consumer.stop()
