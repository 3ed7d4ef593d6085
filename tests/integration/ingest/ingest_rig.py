"""Ingest as a process of its own, what is posted to it, and what it wrote."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import aiohttp
from aiokafka import AIOKafkaConsumer

from deploy.local.home import ROOT
from deploy.local.processes import free_port
from shared.contracts.records import InRecord
from shared.contracts.topics import Topic
from shared.kafka.settings import KafkaSettings
from shared.testing.webhooks import encode, sign, signed_headers
from tests.unit.ingest.entries import MASTER_KEY

PATH = "/webhooks/whatsapp"


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s")
        await asyncio.sleep(0.05)


@dataclass
class Ingest:
    """A running process and a client of it."""

    process: Process
    port: int
    client: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def post(
        self, payload: object, secret: str = "new", app: str | None = None
    ) -> tuple[int, str | None]:
        """The status and the problem's code."""
        body = payload if isinstance(payload, bytes) else encode(payload)
        url = self.url + PATH + (f"/{app}" if app else "")
        async with self.client.post(
            url, data=io.BytesIO(body), headers=signed_headers(body, secret)
        ) as answer:
            code = None
            if answer.content_type == "application/problem+json":
                code = (await answer.json(content_type=None))["code"]
            return answer.status, code

    async def post_chunked(self, size: int) -> int:
        """Post that many bytes without a Content-Length."""
        part = b"x" * 65_536

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(size // len(part)):
                yield part

        headers = {"X-Hub-Signature-256": sign(part * (size // len(part)), "new")}
        async with self.client.post(self.url + PATH, data=chunks(), headers=headers) as answer:
            return answer.status

    async def get(self, path: str, **query: str) -> tuple[int, str]:
        async with self.client.get(self.url + path, params=query) as answer:
            return answer.status, await answer.text()

    async def is_ready(self) -> bool:
        try:
            return (await self.get("/readyz"))[0] == 200
        except aiohttp.ClientError:
            return False

    async def is_up(self) -> bool:
        try:
            return (await self.get("/livez"))[0] == 200
        except aiohttp.ClientError:
            return False


@asynccontextmanager
async def running(
    settings: KafkaSettings, log: Path, *, ready: bool = True
) -> AsyncIterator[Ingest]:
    """`python -m services.ingest` until the context ends; ready, or merely up."""
    port = free_port()
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "ATRIO_KAFKA_SERVERS": settings.kafka_servers,
        "ATRIO_TOPIC_PREFIX": settings.topic_prefix,
        "ATRIO_INGEST_PORT": str(port),
        "ATRIO_APP_SECRETS": "new,old",
        "ATRIO_VERIFY_TOKEN": "verify-me",
        "ATRIO_KEY_SECRET": "key-secret",
        "ATRIO_MASTER_KEY": MASTER_KEY,
    }
    with log.open("ab") as sink:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.ingest", env=environ, cwd=ROOT, stdout=sink, stderr=sink
        )
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=30)
    ) as client:
        ingest = Ingest(process, port, client)
        try:
            await until(ingest.is_ready if ready else ingest.is_up)
            yield ingest
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                try:
                    async with asyncio.timeout(20):
                        await process.wait()
                except TimeoutError:
                    process.kill()
                    await process.wait()


class Reader:
    """Follows a topic from its beginning with a bare client."""

    def __init__(self, settings: KafkaSettings, topic: Topic) -> None:
        self.records: list[InRecord] = []
        self._consumer = AIOKafkaConsumer(
            settings.topic_name(topic),
            group_id=None,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=6 * 1024 * 1024,
            **settings.client_options(),
        )

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def poll(self) -> list[InRecord]:
        for messages in (await self._consumer.getmany(timeout_ms=200)).values():
            self.records += [
                InRecord(m.topic, m.partition, m.offset, m.key, m.value, m.headers, m.timestamp)
                for m in messages
            ]
        return self.records

    async def first(self, count: int, seconds: float = 20) -> list[InRecord]:
        """Everything read so far, at least so many records."""
        deadline = time.monotonic() + seconds
        while len(self.records) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(self.records)} of {count} records")
            await self.poll()
        return self.records

    async def settled(self) -> list[InRecord]:
        """Everything up to the present ends of the topic."""
        ends = await self._consumer.end_offsets(self._consumer.assignment())
        while True:
            positions = [await self._consumer.position(each) >= end for each, end in ends.items()]
            if all(positions):
                return self.records
            await self.poll()
