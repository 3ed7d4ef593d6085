"""Delivery as a process between a real Kafka, a real MongoDB and the fake Graph server.

What goes in are commands as inbox writes them; what comes out are its events, and Meta's statuses
as webhooks. For the crash test and the benchmark.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import sys
import time
from asyncio.subprocess import Process
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web
from aiokafka import AIOKafkaConsumer

from deploy.local.home import ROOT
from deploy.local.processes import free_port
from shared.contracts import topics
from shared.contracts.envelope import Envelope, read_envelope, timestamp
from shared.contracts.records import OutRecord
from shared.kafka.publisher import Publisher, PublishError
from shared.kafka.settings import KafkaSettings
from shared.kafka.topics import ensure_topics
from shared.mongo.client import MongoSettings, create_client
from shared.sealing import Sealer
from shared.testing.graph.server import GraphServer
from shared.testing.graph.settings import GraphSettings
from tests.support.stack import Addresses

TENANT, NUMBER, PHONE_NUMBER_ID = "acme", "number-1", "200000000000001"
_MASTER_KEY = base64.b64encode(b"k" * 32).decode()
_READY_SECONDS = 40.0


class DeliveryRig:
    """Processes of delivery, both ends of their topics, and Meta."""

    def __init__(
        self, kafka: KafkaSettings, graph_url: str, env: dict[str, str], log: Path
    ) -> None:
        self.publisher = Publisher(kafka, client_id="delivery-rig")
        self.outcomes: defaultdict[str, list[str]] = defaultdict(list)
        """Types of the events, by message."""
        self.told = 0
        self.told_at: dict[str, float] = {}
        """When the first outcome of a message was seen, on the monotonic clock."""
        self.statuses: defaultdict[str, set[str]] = defaultdict(set)
        """Meta's statuses, by our id in `biz_opaque_callback_data`."""
        self.status_count = 0
        self._kafka = kafka
        self._graph_url = graph_url
        self._env = env
        self._log = log
        self.processes: list[Process] = []
        self.mongo_url = env["ATRIO_MONGO_URL"]
        self.database = env["ATRIO_DELIVERY_DB"]

    async def start_pod(self, kill_at: str | None = None) -> Process:
        """A process, once it is ready to send; or dead already, where it is to die."""
        port = free_port()
        env = self._env | {"ATRIO_DELIVERY_PORT": str(port)}
        if kill_at is not None:
            env["KILL_AT"] = kill_at
        module = "services.delivery" if kill_at is None else "tests.support.mortal_delivery"
        process = await self.start(module, env)
        missing = "no answer"
        ends = time.monotonic() + _READY_SECONDS
        async with aiohttp.ClientSession() as client:
            while time.monotonic() < ends:
                with contextlib.suppress(aiohttp.ClientError):
                    async with client.get(f"http://127.0.0.1:{port}/readyz") as answer:
                        if answer.status == 200:
                            return process
                        missing = await answer.text()
                if process.returncode is not None:
                    if kill_at is not None:
                        return process
                    raise RuntimeError(f"delivery ended with {process.returncode}")
                await asyncio.sleep(0.1)
        raise RuntimeError(f"delivery is not ready: {missing}")

    async def start(self, module: str, env: dict[str, str] | None = None) -> Process:
        """A process that ends with the rig."""
        with self._log.open("ab") as sink:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                module,
                env=env or self._env,
                cwd=ROOT,
                stdout=sink,
                stderr=sink,
            )
        self.processes.append(process)
        return process

    async def publish(self, commands: Iterable[OutRecord]) -> None:
        await self.publisher.publish_runs([[command] for command in commands])

    async def control(self, method: str, path: str, body: object = None) -> Any:
        """The fake's control API."""
        data = None if body is None else orjson.dumps(body)
        url = f"{self._graph_url}/_control{path}"
        async with (
            aiohttp.ClientSession() as client,
            client.request(method, url, data=data) as answer,
        ):
            if answer.status >= 300:
                raise RuntimeError(await answer.text())
            return await answer.json()

    async def stored(self) -> int:
        """How many send records there are."""
        client = create_client(MongoSettings(mongo_url=self.mongo_url), app_name="rig")
        try:
            return int(await client[self.database]["sends"].estimated_document_count())
        finally:
            client.close()

    async def ended(self, messages: Sequence[str], seconds: float) -> bool:
        """Whether each message had an outcome within the time."""
        return await holds(lambda: all(m in self.outcomes for m in messages), seconds)

    async def has_told(self, outcomes: int, seconds: float) -> bool:
        """Whether so many outcomes came within the time."""
        return await holds(lambda: self.told >= outcomes, seconds)

    async def on_webhook(self, request: web.Request) -> web.Response:
        """Meta's statuses, as ingest would get them."""
        for entry in orjson.loads(await request.read())["entry"]:
            for change in entry["changes"]:
                for status in change["value"].get("statuses", ()):
                    self.status_count += 1
                    callback = status.get("biz_opaque_callback_data")
                    if callback:
                        self.statuses[callback].add(status["status"])
        return web.Response()

    async def follow(self) -> None:
        """The events, from the beginning."""
        consumer = AIOKafkaConsumer(
            self._kafka.topic_name(topics.DELIVERY_EVENTS),
            auto_offset_reset="earliest",
            **self._kafka.client_options(),
        )
        await consumer.start()
        try:
            async for message in consumer:
                kind = read_envelope(message.headers).type
                if kind.startswith("send."):
                    self.told += 1
                    name = orjson.loads(message.value)["message_id"]
                    self.outcomes[name].append(kind)
                    self.told_at.setdefault(name, time.monotonic())
        finally:
            await consumer.stop()


@contextlib.asynccontextmanager
async def delivery_rig(
    stack: Addresses, name: str, folder: Path, **settings: str
) -> AsyncIterator[DeliveryRig]:
    """Everything but a process of delivery; `name` keeps its topics and database apart."""
    kafka = KafkaSettings(kafka_servers=stack.kafka_servers, topic_prefix=f"{name}.")
    await ensure_topics(kafka)
    async with GraphServer(GraphSettings(port=0)) as graph:
        env = dict(os.environ) | {
            "ATRIO_KAFKA_SERVERS": stack.kafka_servers,
            "ATRIO_TOPIC_PREFIX": f"{name}.",
            "ATRIO_MONGO_URL": stack.mongo_url,
            "ATRIO_DELIVERY_DB": name,
            "ATRIO_GRAPH_URL": graph.url,
            "ATRIO_MASTER_KEY": _MASTER_KEY,
            "ATRIO_KEY_SECRET": "key-secret",
            "ATRIO_HOME": str(folder),
            **settings,
        }
        rig = DeliveryRig(kafka, graph.url, env, folder / "delivery.log")
        hook = web.Application()
        hook.router.add_post("/hook", rig.on_webhook)
        runner = web.AppRunner(hook, access_log=None)
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await rig.control(
            "PUT",
            f"/numbers/{PHONE_NUMBER_ID}",
            {"webhook": {"url": f"http://127.0.0.1:{port}/hook", "secret": "s"}},
        )
        await rig.publisher.start()
        await _told(rig.publisher, number_credentials())
        following = asyncio.create_task(rig.follow())
        try:
            yield rig
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            for process in rig.processes:
                if process.returncode is None:
                    process.kill()
                await process.wait()
            await rig.publisher.aclose()
            await runner.cleanup()
            client = create_client(MongoSettings(mongo_url=stack.mongo_url), app_name="rig")
            await client.drop_database(name)
            client.close()


async def _told(publisher: Publisher, record: OutRecord) -> None:
    """Publish once the topics, which are new, have their leaders."""
    async with asyncio.timeout(_READY_SECONDS):
        while True:
            try:
                await publisher.publish([record])
            except PublishError:
                continue
            return


async def holds(condition: Callable[[], object], seconds: float) -> bool:
    """Poll a condition with a deadline; whether it came true."""
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends:
            return False
        await asyncio.sleep(0.01)
    return True


def send_command(
    message: str, chat: str, seq: int, phone: str, *, tenant: str = TENANT, number: str = NUMBER
) -> OutRecord:
    """A text, as inbox asks for it."""
    now = timestamp(datetime.now(UTC))
    value = {
        "message_id": message,
        "conversation_id": chat,
        "number_id": number,
        "seq": seq,
        "recipient": {"wa_id": phone},
        "type": "text",
        "body": {"body": f"text of {message}"},
        "queued_at": now,
    }
    envelope = Envelope(f"{message}:c", "message.send", "inbox", now, tenant, chat)
    return OutRecord(topics.OUTBOUND, chat.encode(), orjson.dumps(value), envelope.headers())


def number_credentials(
    tenant: str = TENANT, number: str = NUMBER, phone_number_id: str = PHONE_NUMBER_ID
) -> OutRecord:
    """A number, as inbox tells of it."""
    now = timestamp(datetime.now(UTC))
    sealed = Sealer(_MASTER_KEY).seal(orjson.dumps({"access_token": "token-1"}), owner=number)
    value = {
        "number_id": number,
        "tenant": tenant,
        "version": 1,
        "phone_number_id": phone_number_id,
        "sealed": sealed,
    }
    envelope = Envelope("c", "credentials.number", "inbox", now, tenant)
    return OutRecord(topics.CREDENTIALS, number.encode(), orjson.dumps(value), envelope.headers())
