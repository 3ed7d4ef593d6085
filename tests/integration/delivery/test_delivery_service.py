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
from structlog.testing import capture_logs

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
from shared.replay.command import parser, run
from shared.replay.settings import ReplaySettings
from tests.integration.delivery.delivery_rig import (
    MASTER_KEY,
    GraphControl,
    credentials,
    in_record,
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


async def test_parked_chat_and_its_dead_letter_are_in_the_hands_of_operators(
    rig: Rig,
    graph: GraphControl,
    mongo_db: str,
    stack: Addresses,
    capsys: pytest.CaptureFixture[str],
):
    settings = ReplaySettings(
        **rig.kafka.model_dump(), mongo_url=stack.mongo_url, delivery_db=mongo_db
    )

    audited: list[tuple[str, str]] = []

    async def operate(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        with capture_logs() as lines:
            code = await run(parser().parse_args(["--by", "ana", *arguments]), settings)
        audited.extend((line["event"], line["who"]) for line in lines if "who" in line)
        return code, capsys.readouterr().out

    parked = ("parked", "--service", "delivery")
    dead = ("dead", "--topic", "whatsapp.outbound.v1")
    await rig.start_pod()
    await rig.publish(
        topics.OUTBOUND,
        in_record("message.send", {"message_id": "secret words"}),
        send("m2", 2),
        send("other", 1, chat="chat-2"),
        send("m3", 3),
    )

    async def listed(*arguments: str) -> list[str]:
        return (await operate(*arguments, "list"))[1].splitlines()[1:]

    async def first(records: str) -> list[str]:
        async with asyncio.timeout(10):
            while True:
                lines = [line.split() for line in await listed(*parked)]
                if lines and lines[0][2] == records:
                    return lines[0]
                await asyncio.sleep(0.1)

    await rig.ended(["other"], 20)
    lot, key, _, reason, _ = await first("3")
    assert (key, reason) == ("chat-1", "bad_payload")
    assert "secret words" not in (await operate(*parked, "show", lot, key))[1]
    assert "secret words" in (await operate(*parked, "show", lot, key, "--show"))[1]
    assert await operate(*parked, "release", lot, key) == (1, "0 replayed, bad_payload\n")

    assert await operate(*parked, "drop", lot, key) == (0, "1 dropped\n")
    assert await operate(*parked, "release", lot, key) == (0, "2 replayed, nothing left\n")
    await rig.ended(["m2", "m3"], 10)
    assert [m for m in await graph.accepted() if m != "other"] == ["m2", "m3"]
    assert await listed(*parked) == []

    (letter,) = await listed(*dead)
    place = letter.split()[0]
    assert "secret words" not in letter + (await operate(*dead, "show", place))[1]
    assert await operate(*dead, "redrive", place) == (0, f"{place} redriven\n")
    lot, key, _, _, _ = await first("1")  # still not readable: parked again, and dead again
    async with asyncio.timeout(10):
        while (await operate(*dead, "drop", "--all"))[1] == "":  # noqa: ASYNC110 - a poll
            await asyncio.sleep(0.1)
    assert await listed(*dead) == []

    client = create_client(settings, app_name="delivery-tests")
    accounts = await client[mongo_db]["parked_replays"].find({}).sort("at", 1).to_list(None)
    client.close()
    assert [(each["action"], each["by"], each["state"]) for each in accounts] == [
        ("release", "ana", "stopped"),
        ("drop", "ana", "done"),
        ("release", "ana", "done"),
    ]
    assert audited == [
        (f"replay.{done}", "ana") for done in ("asked", "dropped", "asked", "redriven", "dropped")
    ]
