"""From a record on Kafka to a frame on a socket, and presence back to Kafka."""

import asyncio
import time
from collections.abc import AsyncIterator

import orjson
import pytest
from aiokafka import AIOKafkaConsumer

from services.notifier.settings import NotifierSettings
from shared.contracts.envelope import read_envelope
from shared.contracts.topics import AGENT_EVENTS, CONVERSATION_EVENTS
from shared.kafka.publisher import Publisher
from shared.kafka.topics import ensure_topics
from tests.integration.notifier.pods import Pod, running, until
from tests.integration.notifier.world import Chat, Socket, Tenant
from tests.support.redis_server import RedisServer
from tests.support.stack import Addresses

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture
async def settings(
    stack: Addresses, topic_prefix: str, redis_server: RedisServer
) -> NotifierSettings:
    made = NotifierSettings(
        kafka_servers=stack.kafka_servers,
        topic_prefix=topic_prefix,
        redis_url=redis_server.url,
        redis_prefix=topic_prefix,
        notifier_presence_repeat=1,
        notifier_heartbeat=1,
    )
    await ensure_topics(made, partitions=2)
    return made


@pytest.fixture
async def publisher(settings: NotifierSettings) -> AsyncIterator[Publisher]:
    made = Publisher(settings, client_id="test")
    await made.start()
    yield made
    await made.aclose()


@pytest.fixture
async def pod(
    settings: NotifierSettings, publisher: Publisher, tenant: Tenant
) -> AsyncIterator[Pod]:
    await publisher.publish(
        [tenant.keyset(), tenant.tenant(), tenant.agent("ana"), tenant.agent("luis")]
    )
    async with running(settings, kafka=True) as made:
        await until(lambda: not made.app.ready(), 60)
        yield made


async def test_records_become_frames_and_sockets_become_presence(
    pod: Pod, settings: NotifierSettings, publisher: Publisher, tenant: Tenant
) -> None:
    ana = await Socket.open(pod.url)
    await ana.hello(tenant.token("ana"))
    chat = Chat(tenant)
    await publisher.publish([chat.received(), chat.assigned("ana"), chat.received()])
    assert await ana.until(3) == [
        ("enter", chat.id, 1),
        ("update", chat.id, 2),
        ("update", chat.id, 3),
    ]
    await publisher.publish([tenant.agent("ana", teams=("t1",))])
    await ana.of_type("resync")
    consumer = AIOKafkaConsumer(
        settings.topic_name(AGENT_EVENTS),
        bootstrap_servers=settings.kafka_servers,
        auto_offset_reset="earliest",
        group_id=None,
    )
    await consumer.start()
    try:
        first = await next_presence(consumer, present=True)
        repeated = await next_presence(consumer, present=True)
        assert repeated == first, "the state is repeated with the same counter"
        await ana.close()
        gone = await next_presence(consumer, present=False)
        assert gone[1] > first[1]
    finally:
        await consumer.stop()


async def test_a_poison_record_does_not_stop_the_others(
    pod: Pod, settings: NotifierSettings, publisher: Publisher, tenant: Tenant
) -> None:
    ana = await Socket.open(pod.url)
    await ana.hello(tenant.token("ana"))
    chat = Chat(tenant)
    good = chat.received()
    bad = type(good)(CONVERSATION_EVENTS, b"x", b"{}", Chat(tenant).received().headers)
    await publisher.publish([bad, good])
    assert await ana.until(1) == [("enter", chat.id, 1)]
    await ana.close()


async def test_latency_from_a_record_to_the_frame_is_small(
    pod: Pod, publisher: Publisher, tenant: Tenant
) -> None:
    ana = await Socket.open(pod.url)
    await ana.hello(tenant.token("ana"))
    chats = [Chat(tenant) for _ in range(20)]
    sent: dict[tuple[str, int], float] = {}
    took: list[float] = []

    async def read() -> None:
        while len(took) < 300:
            frame = await ana.frame()
            now = time.perf_counter()
            for item in frame.get("events", [frame]):
                event = item.get("event", {})
                key = (event.get("conversation_id"), event.get("version"))
                if key in sent:
                    took.append(now - sent[key])

    reading = asyncio.create_task(read())
    for n in range(300):
        chat = chats[n % 20]
        record = chat.received()
        sent[chat.id, chat.version] = time.perf_counter()
        await publisher.send(record)
        await asyncio.sleep(1 / 300)
    await reading
    took.sort()
    print(f"record to frame: p50 {took[150] * 1e3:.1f} ms, p99 {took[297] * 1e3:.1f} ms")
    assert took[150] < 0.25, "far above what it should be, even on a busy machine"
    await ana.close()


async def next_presence(consumer: AIOKafkaConsumer, *, present: bool) -> tuple[bytes, int]:
    async with asyncio.timeout(30):
        async for message in consumer:
            envelope = read_envelope(message.headers)
            if orjson.loads(message.value)["present"] is present:
                return message.value, envelope.sequence or 0
    raise AssertionError
