"""Routing as processes of their own, and an inbox that applies its decisions over Kafka."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web
from aiokafka import AIOKafkaConsumer

from deploy.local.home import ROOT
from deploy.local.processes import free_port
from shared.contracts.directory import (
    AgentEntry,
    EntityKind,
    Policy,
    PolicyEntry,
    TenantEntry,
    directory_key,
)
from shared.contracts.envelope import Envelope, timestamp
from shared.contracts.records import OutRecord
from shared.contracts.topics import AGENT_EVENTS, DIRECTORY, ROUTING_DECISIONS
from shared.contracts.views import Role
from shared.kafka.publisher import Publisher
from shared.kafka.settings import KafkaSettings
from tests.integration.routing.inbox_model import InboxModel

TOKEN = "internal-token"
PAGE = 3


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s")
        await asyncio.sleep(0.02)


def entry(tenant: str, kind: EntityKind, entity: str, value: dict[str, Any]) -> OutRecord:
    envelope = Envelope(
        id=f"{entity}:{value['version']}",
        type=f"directory.{kind}",
        source="/inbox",
        time=timestamp(datetime.now(UTC)),
        tenant=tenant,
        sequence=value["version"],
    )
    key = directory_key(tenant, kind, entity)
    return OutRecord(DIRECTORY, key, orjson.dumps(value), envelope.headers())


@dataclass
class Inbox:
    """An `InboxModel` behind Kafka and HTTP."""

    model: InboxModel
    publisher: Publisher
    settings: KafkaSettings
    url: str = ""
    listings: int = 0
    published: int = 0
    away: bool = False
    counter: int = 0
    decisions: list[dict[str, Any]] = field(default_factory=list)

    async def publish(self) -> None:
        """Produce the events that are not on the topic yet."""
        events, self.published = self.model.events[self.published :], len(self.model.events)
        await self.publisher.publish(events)

    async def set_up(self, policy: Policy, version: int = 1) -> None:
        """The directory's entries of the tenant."""
        tenant = self.model.tenant
        records = [
            entry(
                tenant,
                EntityKind.TENANT,
                tenant,
                TenantEntry(id=tenant, version=version, name="t").model_dump(mode="json"),
            ),
            entry(
                tenant,
                EntityKind.POLICY,
                tenant,
                PolicyEntry(id=tenant, tenant=tenant, version=version, policy=policy).model_dump(
                    mode="json"
                ),
            ),
        ]
        for agent, capacity in self.model.capacity.items():
            made = AgentEntry(
                id=agent,
                tenant=tenant,
                version=version,
                name="n",
                role=Role.AGENT,
                capacity=capacity,
            )
            records.append(entry(tenant, EntityKind.AGENT, agent, made.model_dump(mode="json")))
        await self.publisher.publish(records)

    async def presence(self, *agents: str, present: bool = True) -> None:
        """The notifier's events; each call is a transition."""
        self.counter += 1
        now = timestamp(datetime.now(UTC))
        await self.publisher.publish(
            [
                OutRecord(
                    AGENT_EVENTS,
                    agent.encode(),
                    orjson.dumps({"agent_id": agent, "present": present, "at": now}),
                    Envelope(
                        id=f"{agent}:{self.counter}",
                        type="agent.presence",
                        source="/notifier",
                        time=now,
                        tenant=self.model.tenant,
                        sequence=self.counter,
                    ).headers(),
                )
                for agent in agents
            ]
        )

    async def apply(self) -> None:
        """Take decisions as they come, until cancelled."""
        consumer = AIOKafkaConsumer(
            self.settings.topic_name(ROUTING_DECISIONS),
            bootstrap_servers=self.settings.kafka_servers,
            group_id=None,
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            async for record in consumer:
                value = orjson.loads(record.value)
                self.decisions.append(value)
                if self.model.decided(value):
                    await self.publish()
        finally:
            await consumer.stop()

    async def list(self, request: web.Request) -> web.Response:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return web.Response(status=401)
        if self.away:
            return web.Response(status=503)
        self.listings += 1
        tenant = request.query.get("tenant")
        start = int(request.query.get("cursor", "0"))
        items = [one for one in self.model.listed() if tenant in (None, one["tenant"])]
        more = start + PAGE < len(items)
        body = {
            "items": items[start : start + PAGE],
            "next_cursor": str(start + PAGE) if more else None,
        }
        return web.Response(body=orjson.dumps(body), content_type="application/json")


@asynccontextmanager
async def inbox(settings: KafkaSettings, model: InboxModel) -> AsyncIterator[Inbox]:
    publisher = Publisher(settings, client_id="test")
    await publisher.start()
    made = Inbox(model, publisher, settings)
    app = web.Application()
    app.router.add_get("/internal/v1/conversations", made.list)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    made.url = f"http://127.0.0.1:{port}"
    applying = asyncio.create_task(made.apply())
    try:
        yield made
    finally:
        applying.cancel()
        await asyncio.gather(applying, return_exceptions=True)
        await runner.cleanup()
        await publisher.aclose()


@dataclass
class Pod:
    process: Process
    port: int
    log: Path

    async def get(self, path: str, token: str = TOKEN) -> tuple[int, Any]:
        headers = {"authorization": f"Bearer {token}"}
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"http://127.0.0.1:{self.port}{path}", headers=headers) as answer,
        ):
            return answer.status, await answer.json(content_type=None)

    async def ready(self) -> None:
        await self._answers(200, {"status": "ok"})

    async def unready(self, reasons: list[str]) -> None:
        await self._answers(503, {"status": "unavailable", "reasons": reasons})

    async def _answers(self, status: int, body: dict[str, Any], seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        found: Any = None
        while found != (status, body):
            if time.monotonic() > deadline:
                raise TimeoutError(f"/readyz: {found}; {self.log.read_text()[-2000:]}")
            await asyncio.sleep(0.05)
            with contextlib.suppress(aiohttp.ClientError):
                found = await self.get("/readyz")

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        if self.process.returncode is None:
            self.process.send_signal(how)
        return await self.process.wait()


@asynccontextmanager
async def routing(
    settings: KafkaSettings, redis_url: str, inbox_url: str, log: Path
) -> AsyncIterator[Pod]:
    port = free_port()
    environ = {
        "PATH": os.environ["PATH"],
        "ATRIO_KAFKA_SERVERS": settings.kafka_servers,
        "ATRIO_TOPIC_PREFIX": settings.topic_prefix,
        "ATRIO_REDIS_URL": redis_url,
        "ATRIO_REDIS_PREFIX": settings.topic_prefix,
        "ATRIO_INBOX_URL": inbox_url,
        "ATRIO_INTERNAL_TOKEN": TOKEN,
        "ATRIO_ROUTING_PORT": str(port),
        "ATRIO_ROUTING_RESERVATION": "PT3S",
        "ATRIO_ROUTING_REPEAT_AFTER": "PT1S",
    }
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.routing",
            cwd=ROOT,
            env=environ,
            stdout=output,
            stderr=output,
        )
    pod = Pod(process, port, log)
    try:
        yield pod
    finally:
        await pod.stop(signal.SIGKILL)
