from aiokafka import TopicPartition
from aiokafka.producer.message_accumulator import MessageAccumulator

from shared.kafka.lingering import CROWD, leave_together

BROKER = 7
LINGER_SECONDS = 60
FIRST, SECOND = TopicPartition("t", 0), TopicPartition("t", 1)


class OneBroker:
    """A cluster whose only broker leads every partition."""

    def leader_for_partition(self, _: TopicPartition) -> int:
        return BROKER


async def two_batches() -> MessageAccumulator:
    accumulator = MessageAccumulator(OneBroker(), 16384, 0, 600, linger_ms=LINGER_SECONDS * 1000)
    for partition in (FIRST, SECOND):
        await accumulator.add_message(partition, b"k", b"v", timeout=1, timestamp_ms=1)
    return accumulator


def first_has_lingered(accumulator: MessageAccumulator) -> None:
    accumulator._batches[FIRST][0]._ctime -= LINGER_SECONDS + 1


async def test_alone_each_partition_lingers_for_itself() -> None:
    accumulator = await two_batches()
    first_has_lingered(accumulator)
    nodes, _ = accumulator.drain_by_nodes(set())
    assert set(nodes[BROKER]) == {FIRST}


async def test_who_lingers_goes_with_the_first() -> None:
    accumulator = await two_batches()
    leave_together(accumulator)
    assert accumulator.drain_by_nodes(set())[0] == {}
    first_has_lingered(accumulator)
    nodes, _ = accumulator.drain_by_nodes(set())
    assert set(nodes[BROKER]) == {FIRST, SECOND}


async def test_a_busy_broker_gets_all_when_it_is_free() -> None:
    accumulator = await two_batches()
    leave_together(accumulator)
    first_has_lingered(accumulator)
    assert accumulator.drain_by_nodes({BROKER})[0] == {}
    nodes, _ = accumulator.drain_by_nodes(set())
    assert set(nodes[BROKER]) == {FIRST, SECOND}


async def test_a_crowd_does_not_linger() -> None:
    accumulator = await two_batches()
    leave_together(accumulator)
    while sum(each[0].record_count for each in accumulator._batches.values()) < CROWD:
        assert accumulator.drain_by_nodes(set())[0] == {}
        await accumulator.add_message(SECOND, b"k", b"v", timeout=1, timestamp_ms=1)
    nodes, _ = accumulator.drain_by_nodes(set())
    assert set(nodes[BROKER]) == {FIRST, SECOND}
