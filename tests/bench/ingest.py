"""Ingest beside its floor: one-message webhooks answered after `acks=all`, one process each.

The floor is a bare ASGI function that produces the body as it is with aiokafka and answers when
it is acknowledged: no signature, no parsing, no split. Both run in uvicorn (uvloop, httptools)
under the same load from a third process, one after the other, in turns.

    python -m tests.bench.ingest
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
import uvloop
from aiokafka import AIOKafkaProducer

from deploy.local.home import ROOT
from deploy.local.processes import free_port, take_turns
from shared.contracts.topics import CREDENTIALS, DIRECTORY, INBOUND, QUARANTINE
from shared.kafka.publisher import Publisher
from shared.kafka.settings import KafkaSettings
from shared.kafka.topics import ensure_topics
from shared.testing.webhooks import (
    Number,
    Wamids,
    customers,
    encode,
    messages_change,
    sign,
    text_message,
    webhook,
)
from tests.unit.ingest.entries import number_out

SECRET = "bench-secret"
CONNECTIONS = 128
ROUNDS = 3
SECONDS = 5.0
WARM_UP = 1.0


# --- the floor -----------------------------------------------------------------------------------


class Floor:
    """Body in, one record out, 200."""

    def __init__(self, servers: str, topic: str) -> None:
        self._topic = topic
        self._producer = AIOKafkaProducer(
            bootstrap_servers=servers, acks="all", enable_idempotence=True, linger_ms=2
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await self._producer.start()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await self._producer.stop()
            await send({"type": "lifespan.shutdown.complete"})
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if body:
            await (await self._producer.send(self._topic, body))
        headers = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def serve_floor(port: int, servers: str, topic: str) -> None:
    async def main() -> None:
        config = uvicorn.Config(
            Floor(servers, topic),
            port=port,
            loop="uvloop",
            http="httptools",
            access_log=False,
            log_level="warning",
            server_header=False,
            date_header=False,
        )
        await uvicorn.Server(config).serve()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


# --- the load ------------------------------------------------------------------------------------


def requests(port: int) -> list[bytes]:
    ids = Wamids(1)
    found = []
    for who in customers(1000):
        sent = text_message("Hello, where is my order?", who, ids.inbound(who))
        body = encode(webhook(messages_change(Number(), [sent], [who])))
        head = (
            f"POST /webhooks/whatsapp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"X-Hub-Signature-256: {sign(body, SECRET)}\r\n\r\n"
        )
        found.append(head.encode() + body)
    return found


class Connection(asyncio.Protocol):
    """Posts one after the other; every answer that is not 200 counts as an error."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._seen = b""
        self._sent = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._post()

    def data_received(self, data: bytes) -> None:
        self._seen += data
        if self._seen.endswith(b"\r\n\r\n") or b"problem" in self._seen:
            self._load.answered(self._seen.startswith(b"HTTP/1.1 200"), self._sent)
            self._seen = b""
            self._post()

    def _post(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._load.next())


class Load:
    def __init__(self, port: int) -> None:
        self._requests = requests(port)
        self._at = 0
        self.count = 0
        self.errors = 0
        self.seconds: list[float] = []

    def next(self) -> bytes:
        self._at = (self._at + 1) % len(self._requests)
        return self._requests[self._at]

    def answered(self, good: bool, sent: float) -> None:
        self.count += good
        self.errors += not good
        self.seconds.append(time.perf_counter() - sent)

    async def run(self, port: int, seconds: float) -> dict[str, float]:
        loop = asyncio.get_running_loop()
        for _ in range(CONNECTIONS):
            await loop.create_connection(lambda: Connection(self), "127.0.0.1", port)
        await asyncio.sleep(WARM_UP)
        self.count, self.errors, self.seconds = 0, 0, []
        began = time.perf_counter()
        await asyncio.sleep(seconds)
        took = time.perf_counter() - began
        self.seconds.sort()
        return {
            "per_s": self.count / took,
            "errors": float(self.errors),
            "p50_ms": 1000 * self.seconds[len(self.seconds) // 2],
            "p99_ms": 1000 * self.seconds[len(self.seconds) * 99 // 100],
        }


def load(port: int, seconds: float) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(Load(port).run(port, seconds))))


# --- the comparison ------------------------------------------------------------------------------


@contextmanager
def process(port: int, *arguments: str, **environ: str) -> Iterator[None]:
    one = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        stdout=subprocess.DEVNULL,
    )
    take_turns(one.pid)
    try:
        deadline = time.monotonic() + 30
        while not _answers(port):
            if one.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{arguments[0]} did not start")
            time.sleep(0.1)
        yield
    finally:
        one.terminate()
        one.wait(30)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def measure(port: int, seconds: float) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.ingest", "load", str(port), str(seconds)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


async def _prepare(settings: KafkaSettings) -> None:
    await ensure_topics(settings, topics=[INBOUND, QUARANTINE, DIRECTORY, CREDENTIALS])
    publisher = Publisher(settings, client_id="bench")
    await publisher.start()
    await publisher.publish([number_out("n1", Number().phone_number_id)])
    await publisher.aclose()


def run(servers: str, *, seconds: float = SECONDS, rounds: int = ROUNDS) -> dict[str, float]:
    """Medians over the rounds: `floor_per_s`, `ours_per_s`, `ratio`, and our latencies."""
    settings = KafkaSettings(
        kafka_servers=servers, topic_prefix=f"bench-ingest-{uuid.uuid4().hex[:8]}-"
    )
    asyncio.run(_prepare(settings))
    floor_port, our_port = free_port(), free_port()
    environ = {
        "ATRIO_KAFKA_SERVERS": servers,
        "ATRIO_TOPIC_PREFIX": settings.topic_prefix,
        "ATRIO_INGEST_PORT": str(our_port),
        "ATRIO_APP_SECRETS": SECRET,
        "ATRIO_VERIFY_TOKEN": "v",
        "ATRIO_KEY_SECRET": "k",
        "ATRIO_MASTER_KEY": base64.b64encode(bytes(32)).decode(),
    }
    topic = settings.topic_name(INBOUND)
    floors, ours = [], []
    # Each alone in its turn: the other one idle beside it would cost nothing, but prove nothing.
    for _ in range(rounds):
        with process(floor_port, "tests.bench.ingest", "floor", str(floor_port), servers, topic):
            floors.append(measure(floor_port, seconds))
        with process(our_port, "services.ingest", **environ):
            ours.append(measure(our_port, seconds))
    if any(one["errors"] for one in (*floors, *ours)):
        raise RuntimeError("some webhooks were not answered 200")

    def median(found: list[dict[str, float]], name: str) -> float:
        return round(statistics.median(one[name] for one in found), 2)

    return {
        "floor_per_s": median(floors, "per_s"),
        "ours_per_s": median(ours, "per_s"),
        "ratio": round(median(ours, "per_s") / median(floors, "per_s"), 3),
        "floor_p99_ms": median(floors, "p99_ms"),
        "ours_p50_ms": median(ours, "p50_ms"),
        "ours_p99_ms": median(ours, "p99_ms"),
    }


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["floor", port, servers, topic]:
            serve_floor(int(port), servers, topic)
        case ["load", port, seconds]:
            load(int(port), float(seconds))
        case _:
            print(json.dumps(run(KafkaSettings().kafka_servers), indent=2))
