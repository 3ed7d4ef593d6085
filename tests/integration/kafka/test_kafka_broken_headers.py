import time

import pytest
from aiokafka import TopicPartition
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from shared.contracts.topics import INBOUND
from shared.kafka.publisher import Publisher
from shared.kafka.settings import KafkaSettings
from shared.testing.parking import InMemoryParkingLot
from tests.integration.kafka.kafka_rig import Seen, committed, consuming, read_all, record, until

pytestmark = pytest.mark.integration


class BrokenKey(str):
    __slots__ = ()

    def encode(self, *_: object) -> bytes:  # type: ignore[override]
        return b"\xff\xfe"


async def produce_broken(publisher: Publisher, settings: KafkaSettings, key: bytes) -> None:
    """What a C client may write: good records around one whose header key is not UTF-8."""
    producer = publisher._producer
    assert producer is not None
    place = TopicPartition(
        settings.topic_name(INBOUND),
        producer._partition(settings.topic_name(INBOUND), None, key, b"", key, b""),
    )
    builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, -1, 1_000_000)
    now = int(time.time() * 1000)
    builder.append(0, now, key, b"before", [("fine", b"1")])
    builder.append(1, now, key, b"broken", [(BrokenKey("x"), b"1")])
    builder.append(2, now, key, b"behind", [])
    raw = bytes(builder.build())
    request = ProduceRequest(
        transactional_id=None,
        required_acks=-1,
        timeout=5000,
        topics=[(place.topic, [(place.partition, raw)])],
    )
    leader = producer.client.cluster.leader_for_partition(place)
    response = await producer.client.send(leader, request)
    assert response.topics[0][1][0][1] == 0


@pytest.mark.parametrize("parked", [True, False])
async def test_a_record_with_a_broken_header_key_neither_stops_nor_vanishes(
    settings: KafkaSettings, publisher: Publisher, parked: bool
) -> None:
    parking = InMemoryParkingLot() if parked else None
    seen = Seen()
    async with consuming(settings, publisher, seen, parking=parking) as runtime:
        await publisher.publish([record("k", b"first"), record("z", b"z")])
        await produce_broken(publisher, settings, b"k")
        await publisher.publish([record("z", b"last")])
        await until(lambda: {b"first", b"before", b"last"} <= set(seen.values))
        [dead] = await read_all(settings, settings.dead_name(INBOUND), 1)
        assert dead.value == b"broken"
        assert dict(dead.headers)["atrio_dead_reason"] == b"bad_header_key"

        async def all_committed() -> bool:
            return await committed(settings) == 6

        await until(all_committed)
        assert b"broken" not in seen.values
        assert (b"behind" in seen.values) is not parked
        if parking is not None:
            lot = runtime.subscriptions[0].lot
            held = await parking.oldest(lot, b"k", 9)
            assert [each.value for each in held] == [b"broken", b"behind"]
