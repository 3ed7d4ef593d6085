"""The whole service as processes on the real Kafka: commands in, outcomes out, kills, stops."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import orjson
import pytest
from aiokafka import AIOKafkaConsumer

from deploy.local.home import ROOT
from deploy.local.processes import free_port
from shared.contracts import topics
from shared.contracts.envelope import read_envelope
from shared.contracts.events import PAYLOADS
from shared.contracts.records import InRecord, OutRecord
from shared.contracts.topics import Topic
from shared.kafka.publisher import Publisher
from shared.kafka.settings import KafkaSettings
from shared.kafka.topics import ensure_topics
from shared.mongo.client import MongoSettings, create_client
from tests.integration.delivery.delivery_rig import (
    MASTER_KEY,
    GraphControl,
    credentials,
    send,
    until,
)
from tests.support.stack import Addresses

pytestmark = pytest.mark.integration


class Rig:
    """Processes of delivery, and both ends of their topics."""

    def __init__(self, kafka: KafkaSettings, env: dict[str, str]) -> None:
        self.kafka = kafka
        self.publisher = Publisher(kafka, client_id="delivery-tests")
        self.processes: list[tuple[Process, int]] = []
        self.events: list[tuple[str, str]] = []
        self._env = env

    async def start_pod(self) -> tuple[Process, int]:
        port = free_port()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.delivery",
            env=self._env | {"ATRIO_DELIVERY_PORT": str(port)},
            cwd=ROOT,
            stdout=asyncio.subprocess.DEVNULL,
        )
        self.processes.append((process, port))
        async with aiohttp.ClientSession() as client, asyncio.timeout(30):
            while True:
                try:
                    async with client.get(f"http://127.0.0.1:{port}/readyz") as answer:
                        if answer.status == 200:
                            return process, port
                except aiohttp.ClientError:
                    pass
                assert process.returncode is None, "it ended"
                await asyncio.sleep(0.1)

    async def publish(self, topic: Topic, *records: InRecord) -> None:
        await self.publisher.publish(
            [OutRecord(topic, r.key, r.value, list(r.headers)) for r in records]
        )

    async def follow(self) -> None:
        consumer = AIOKafkaConsumer(
            self.kafka.topic_name(topics.DELIVERY_EVENTS),
            bootstrap_servers=self.kafka.kafka_servers,
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            async for message in consumer:
                envelope = read_envelope(message.headers)
                PAYLOADS[envelope.type].model_validate_json(message.value)
                data = orjson.loads(message.value)
                self.events.append((envelope.type, data.get("message_id", "")))
        finally:
            await consumer.stop()

    def outcomes(self, message: str) -> list[str]:
        return [kind for kind, of in self.events if of == message]

    async def ended(self, messages: list[str], seconds: float) -> None:
        await until(lambda: all(self.outcomes(message) for message in messages), seconds)


@pytest.fixture
async def rig(
    stack: Addresses, topic_prefix: str, mongo_db: str, graph: GraphControl, tmp_path: Path
) -> AsyncIterator[Rig]:
    kafka = KafkaSettings(kafka_servers=stack.kafka_servers, topic_prefix=topic_prefix)
    await ensure_topics(kafka)
    env = dict(os.environ) | {
        "ATRIO_KAFKA_SERVERS": stack.kafka_servers,
        "ATRIO_TOPIC_PREFIX": topic_prefix,
        "ATRIO_MONGO_URL": stack.mongo_url,
        "ATRIO_DELIVERY_DB": mongo_db,
        "ATRIO_GRAPH_URL": graph.url,
        "ATRIO_GRAPH_CONNECT": "PT0.3S",
        "ATRIO_GRAPH_TOTAL": "PT1S",
        "ATRIO_DELIVERY_DEADLINE": "PT0.5S",
        "ATRIO_DELIVERY_LEASE": "PT2S",
        "ATRIO_DELIVERY_RATE": "1000",
        "ATRIO_MASTER_KEY": MASTER_KEY,
        "ATRIO_KEY_SECRET": "key-secret",
        "ATRIO_INTERNAL_TOKEN": "internal",
        "ATRIO_HOME": str(tmp_path),
    }
    made = Rig(kafka, env)
    await made.publisher.start()
    await made.publish(topics.CREDENTIALS, credentials())
    following = asyncio.create_task(made.follow())
    yield made
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    for process, _ in made.processes:
        if process.returncode is None:
            process.kill()
        await process.wait()
    await made.publisher.aclose()
    client = create_client(MongoSettings(mongo_url=stack.mongo_url), app_name="delivery-tests")
    await client.drop_database(mongo_db)
    client.close()


async def test_commands_become_outcomes_and_sigterm_ends_cleanly(rig: Rig, graph: GraphControl):
    process, port = await rig.start_pod()
    messages = [f"m{n}" for n in range(20)]
    await rig.publish(topics.OUTBOUND, *(send(m, n) for n, m in enumerate(messages)))
    await rig.ended(messages, 20)
    assert await graph.accepted() == messages
    async with aiohttp.ClientSession() as client:
        url = f"http://127.0.0.1:{port}/internal/v1/numbers"
        async with client.get(url) as answer:
            assert answer.status == 401
        async with client.get(url, headers={"authorization": "Bearer internal"}) as answer:
            assert await answer.json() == {"items": []}
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 20) == 0


async def test_kill_under_load_sends_nothing_twice_and_loses_nothing(rig: Rig, graph: GraphControl):
    first, _ = await rig.start_pod()
    await graph.fault(delay_ms=30)
    chats = [f"chat-{n}" for n in range(20)]
    commands = {
        f"{chat}-m{n}": send(f"{chat}-m{n}", n, chat=chat) for n in range(10) for chat in chats
    }
    publishing = asyncio.create_task(rig.publish(topics.OUTBOUND, *commands.values()))
    await until(lambda: len(rig.events) >= 40, 20)
    first.kill()
    await first.wait()
    await publishing
    await rig.start_pod()
    await rig.ended(list(commands), 40)
    accepted = await graph.accepted()
    posts = Counter(body["biz_opaque_callback_data"] for body in await graph.sends())
    assert max(posts.values()) == 1
    assert max(Counter(accepted).values()) == 1
    for chat in chats:
        mine = [m for m in accepted if m.startswith(f"{chat}-")]
        assert mine == [m for m in commands if m in mine], "out of order"
    unknown = [m for m in commands if "send.accepted" not in rig.outcomes(m)]
    print(f"{len(commands)} messages, {len(unknown)} unknown after the kill")
    assert all(rig.outcomes(m) == ["send.unknown"] for m in unknown)
    assert len(unknown) <= len(chats)
