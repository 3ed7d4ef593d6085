"""A consumer rig for the tests: records in, calls of the handler out, offsets and dead letters."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from shared.contracts.records import InRecord, OutRecord
from shared.contracts.topics import INBOUND
from shared.kafka.accounts import RecordAccounts
from shared.kafka.failure import FailurePolicy, Rejected
from shared.kafka.parking import ParkingLot
from shared.kafka.publisher import Publisher
from shared.kafka.runtime import ConsumerRuntime
from shared.kafka.settings import KafkaSettings
from shared.kafka.subscribe import create_broker, subscribe

Handler = Callable[[Sequence[InRecord]], Awaitable[Sequence[Rejected] | None]]


async def until(
    condition: Callable[[], bool] | Callable[[], Awaitable[bool]], seconds: float = 20
) -> None:
    deadline = time.monotonic() + seconds
    while True:
        met = condition()
        if not isinstance(met, bool):
            met = await met
        if met:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s")
        await asyncio.sleep(0.02)


def record(key: str | None, value: bytes | None, *headers: tuple[str, bytes]) -> OutRecord:
    return OutRecord(INBOUND, key.encode() if key is not None else None, value, list(headers))


@dataclass
class Seen:
    """A handler that remembers; `before` may raise."""

    before: Callable[[Sequence[InRecord]], Awaitable[Sequence[Rejected] | None]] | None = None
    values: list[bytes | None] = field(default_factory=list)
    records: list[InRecord] = field(default_factory=list)
    calls: int = 0

    async def __call__(self, records: Sequence[InRecord]) -> Sequence[Rejected] | None:
        self.calls += 1
        rejected = None if self.before is None else await self.before(records)
        bad = {(each.record.partition, each.record.offset) for each in rejected or ()}
        for each in records:
            if (each.partition, each.offset) not in bad:
                self.values.append(each.value)
                self.records.append(each)
        return rejected


@asynccontextmanager
async def consuming(
    settings: KafkaSettings,
    publisher: Publisher,
    handler: Handler,
    *,
    group: str = "g",
    parking: ParkingLot | None = None,
    policy: FailurePolicy | None = None,
    max_records: int = 500,
    accounts: RecordAccounts | None = None,
) -> AsyncIterator[ConsumerRuntime]:
    runtime = ConsumerRuntime(settings, publisher, parking=parking, policy=policy)
    broker = create_broker(settings, client_id="test")
    subscribe(
        broker,
        INBOUND,
        group=settings.topic_prefix + group,
        handler=handler,
        runtime=runtime,
        max_records=max_records,
        accounts=accounts,
    )
    await runtime.start()
    try:
        yield runtime
    finally:
        await runtime.aclose()


async def committed(settings: KafkaSettings, group: str = "g") -> int:
    """The sum of the group's committed offsets."""
    admin = AIOKafkaAdminClient(**settings.client_options())
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(settings.topic_prefix + group)
    finally:
        await admin.close()
    return sum(each.offset for each in offsets.values() if each.offset > 0)


async def read_all(settings: KafkaSettings, topic: str, count: int) -> list[InRecord]:
    """The first records of a topic, read by a bare client."""
    consumer = AIOKafkaConsumer(
        topic, group_id=None, auto_offset_reset="earliest", **settings.client_options()
    )
    await consumer.start()
    found: list[InRecord] = []
    try:
        async with asyncio.timeout(15):
            while len(found) < count:
                for messages in (await consumer.getmany(timeout_ms=200)).values():
                    found += [
                        InRecord(
                            m.topic, m.partition, m.offset, m.key, m.value, m.headers, m.timestamp
                        )
                        for m in messages
                    ]
    finally:
        await consumer.stop()
    return found


async def end_offsets(settings: KafkaSettings, topic: str) -> int:
    consumer = AIOKafkaConsumer(topic, group_id=None, **settings.client_options())
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)]
        return sum((await consumer.end_offsets(partitions)).values())
    finally:
        await consumer.stop()
