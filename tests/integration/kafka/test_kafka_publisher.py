import asyncio
from datetime import timedelta

import pytest
from aiokafka.errors import OutOfOrderSequenceNumber

from deploy.local.processes import free_port
from shared.contracts.errors import PermanentError
from shared.contracts.records import OutRecord
from shared.contracts.topics import INBOUND, QUARANTINE
from shared.kafka.publisher import Publisher, PublishError
from shared.kafka.settings import KafkaSettings
from tests.integration.kafka.kafka_rig import read_all, record, until

pytestmark = pytest.mark.integration


async def test_publish_keeps_order_headers_and_tombstones(
    settings: KafkaSettings, publisher: Publisher
) -> None:
    await publisher.publish(
        [record("a", b"1", ("h", b"\xff")), record("a", None), record("a", b"3")]
    )
    found = await read_all(settings, settings.topic_name(INBOUND), 3)
    assert [each.value for each in found] == [b"1", None, b"3"]
    assert found[0].headers == (("h", b"\xff"),)
    assert publisher.healthy


async def test_a_sent_record_is_acknowledged_by_its_future(publisher: Publisher) -> None:
    ack = await publisher.send(record("a", b"1"))
    assert await ack is None


async def test_runs_are_told_apart(publisher: Publisher) -> None:
    missing = OutRecord(QUARANTINE, b"a", b"1", [])
    runs = [[record("a", b"1"), record("a", b"2")], [missing], [record("b", b"1")], []]
    outcome = await publisher.publish_runs(runs, timeout=timedelta(seconds=1))
    assert outcome[1] is False
    assert outcome[0] is True
    assert outcome[3] is True or outcome[3] is False


async def test_many_runs_go_in_one_pass(settings: KafkaSettings, publisher: Publisher) -> None:
    runs = [[record(f"k{i}", b"%d" % i)] for i in range(500)]
    assert all(await publisher.publish_runs(runs))
    assert len(await read_all(settings, settings.topic_name(INBOUND), 500)) == 500


async def test_a_record_above_the_limit_is_refused_for_good(publisher: Publisher) -> None:
    with pytest.raises(PermanentError, match="record_too_large"):
        await publisher.publish([record("a", b"x" * (6 * 1024 * 1024))])
    await publisher.publish([record("a", b"x" * (4 * 1024 * 1024))])


async def test_without_kafka_start_returns_and_a_send_fails_in_time() -> None:
    settings = KafkaSettings(kafka_servers=f"127.0.0.1:{free_port()}")
    publisher = Publisher(settings, client_id="test")
    await publisher.start()
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(PublishError):
        await publisher.publish([record("a", b"1")], timeout=timedelta(seconds=1))
    with pytest.raises(PublishError):
        await publisher.send(record("a", b"1"), timeout=timedelta(seconds=1))
    assert await publisher.publish_runs([[record("a", b"1")]]) == [False]
    assert loop.time() - started < 4
    assert not publisher.healthy
    await publisher.aclose()


async def test_regression_a_wedged_producer_is_replaced(
    settings: KafkaSettings, publisher: Publisher
) -> None:
    # aiokafka#1017: the client's sequence has left the broker's behind, every batch is refused.
    await publisher.publish([record("a", b"1")])
    wedged = publisher._producer
    assert wedged is not None
    transactions = wedged._txn_manager
    for partition in range(3):
        name = settings.topic_name(INBOUND)
        from aiokafka import TopicPartition

        transactions.increment_sequence_number(TopicPartition(name, partition), 17)
    with pytest.raises(PublishError, match=OutOfOrderSequenceNumber.__name__):
        await publisher.publish([record("a", b"2")])
    await until(lambda: publisher._producer not in (None, wedged))
    await publisher.publish([record("a", b"2")])
    found = await read_all(settings, settings.topic_name(INBOUND), 2)
    assert [each.value for each in found] == [b"1", b"2"]


async def test_dropping_a_producer_fails_what_was_in_flight(
    settings: KafkaSettings, publisher: Publisher
) -> None:
    await publisher.publish([record("a", b"1")])
    producer = publisher._producer
    assert producer is not None
    sender = producer._sender
    sender.sender_task.cancel()
    await until(sender.sender_task.done)
    ack = await publisher.send(record("a", b"2"))
    with pytest.raises(PublishError):
        await asyncio.wait_for(ack, 10)
    await until(lambda: publisher._producer not in (None, producer))
    await publisher.publish([record("a", b"3")])
