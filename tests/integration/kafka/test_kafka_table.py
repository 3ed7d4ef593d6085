from datetime import timedelta

import pytest

from deploy.local.processes import free_port
from shared.contracts.errors import PermanentError
from shared.contracts.records import InRecord, OutRecord
from shared.contracts.topics import DIRECTORY
from shared.kafka.publisher import Publisher
from shared.kafka.settings import KafkaSettings
from shared.kafka.table import CompactedTable
from tests.integration.kafka.kafka_rig import until

pytestmark = pytest.mark.integration

WAIT = timedelta(seconds=15)


def entry(key: str, value: bytes | None) -> OutRecord:
    return OutRecord(DIRECTORY, key.encode(), value, [])


async def test_a_table_reads_everything_and_keeps_following(
    settings: KafkaSettings, publisher: Publisher
) -> None:
    await publisher.publish([entry(f"k{i}", b"%d" % i) for i in range(100)])
    held: dict[bytes | None, bytes | None] = {}
    changes: list[int] = []

    def apply(record: InRecord) -> None:
        held[record.key] = record.value

    table = CompactedTable(
        settings, DIRECTORY, apply, on_change=lambda records: changes.append(len(records))
    )
    assert not table.caught_up
    await table.start()
    await table.wait_caught_up(WAIT)
    assert len(held) == 100
    assert sum(changes) == 100
    await publisher.publish([entry("k1", None), entry("new", b"n")])
    await until(lambda: held.get(b"new") == b"n" and held[b"k1"] is None)
    await table.aclose()


async def test_an_empty_table_is_caught_up(settings: KafkaSettings) -> None:
    table = CompactedTable(settings, DIRECTORY, lambda _: None)
    await table.start()
    await table.wait_caught_up(WAIT)
    await table.aclose()


async def test_a_record_that_cannot_be_applied_is_counted_and_skipped(
    settings: KafkaSettings, publisher: Publisher
) -> None:
    good: list[bytes | None] = []

    def apply(record: InRecord) -> None:
        if record.value == b"bad":
            raise PermanentError("unreadable")
        good.append(record.value)

    await publisher.publish([entry("a", b"1"), entry("a", b"bad"), entry("a", b"2")])
    table = CompactedTable(settings, DIRECTORY, apply)
    await table.start()
    await table.wait_caught_up(WAIT)
    assert good == [b"1", b"2"]
    skipped = table._metrics.table_records.labels(settings.topic_name(DIRECTORY), "skipped")
    assert skipped._value.get() == 1
    await table.aclose()


async def test_a_bug_in_apply_is_counted_and_does_not_stop_the_table(
    settings: KafkaSettings, publisher: Publisher
) -> None:
    good: list[bytes | None] = []

    def apply(record: InRecord) -> None:
        if record.value == b"bad":
            raise ZeroDivisionError
        good.append(record.value)

    await publisher.publish([entry("a", b"bad"), entry("a", b"1")])
    table = CompactedTable(settings, DIRECTORY, apply)
    await table.start()
    await table.wait_caught_up(WAIT)
    assert good == [b"1"]
    bugs = table._metrics.table_records.labels(settings.topic_name(DIRECTORY), "bug")
    assert bugs._value.get() == 1
    await table.aclose()


async def test_without_kafka_a_table_waits_and_closes(topic_prefix: str) -> None:
    settings = KafkaSettings(kafka_servers=f"127.0.0.1:{free_port()}", topic_prefix=topic_prefix)
    table = CompactedTable(settings, DIRECTORY, lambda _: None)
    await table.start()
    with pytest.raises(TimeoutError):
        await table.wait_caught_up(timedelta(seconds=0.5))
    await table.aclose()
