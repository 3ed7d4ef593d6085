"""The load and the measuring client, one process: webhooks by an open loop, arrivals timed.

Every message has a due time, whatever became of those before it; its latency counts from there,
so that a system which stalls cannot hide it by slowing the load. Arrivals are Poisson.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
import psutil
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition
from websockets.asyncio.client import connect

from shared.contracts.topics import CONVERSATION_EVENTS
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

CONNECTIONS = 32
PATIENCE = 20.0
"""Seconds without any arrival before what is missing counts as lost."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One measurement. `fill`: every customer writes once before, at the same rate.

    With `stream` arrivals are frames on WebSockets opened with `tokens` (the first one measures),
    without it records of `topic`.
    """

    port: int
    secret: str
    rate: float
    seconds: float
    warm_up: float
    customers: int
    fill: bool
    seed: int
    stream: str = ""
    tokens: tuple[str, ...] = ()
    servers: str = ""
    topic: str = ""
    log: str = ""
    watch: dict[str, int] | None = None

    @property
    def mark(self) -> str:
        """What the texts begin with; the message's place follows."""
        return f"bench {self.seed} "

    def to_argument(self) -> str:
        return json.dumps(asdict(self))


class Arrivals:
    """When each message was due, was posted, was answered and arrived."""

    def __init__(self, mark: str, count: int) -> None:
        self._mark = mark
        self.due = [math.nan] * count
        self.posted = [math.nan] * count
        self.arrived = [math.nan] * count
        self.order: list[int] = []
        self.twice = 0
        self.refused = 0
        self.last = time.perf_counter()

    def take(self, text: object) -> None:
        """A message with this text is here."""
        if not isinstance(text, str) or not text.startswith(self._mark):
            return
        index = int(text[len(self._mark) :])
        self.last = time.perf_counter()
        if math.isnan(self.arrived[index]):
            self.arrived[index] = self.last
            self.order.append(index)
        else:
            self.twice += 1


class Poster:
    """Posts on a fixed number of connections; what finds none free waits, and that counts."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._free: deque[Connection] = deque()
        self._waiting: deque[tuple[int, bytes]] = deque()

    async def connect(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(CONNECTIONS):
            _, connection = await loop.create_connection(
                lambda: Connection(self), "127.0.0.1", port
            )
            self._free.append(connection)

    def post(self, index: int, request: bytes) -> None:
        self._waiting.append((index, request))
        self._go_on()

    def lost(self, connection: Connection, *, unanswered: bool) -> None:
        """The server closed it; what it owed counts as refused."""
        self._arrivals.refused += unanswered
        if connection in self._free:
            self._free.remove(connection)

    def answered(self, connection: Connection, *, good: bool) -> None:
        self._arrivals.refused += not good
        self._free.append(connection)
        self._go_on()

    def _go_on(self) -> None:
        while self._free and self._waiting:
            index, request = self._waiting.popleft()
            self._arrivals.posted[index] = time.perf_counter()
            # In turns: a server closes a connection that was idle for some seconds.
            self._free.popleft().send(request)


class Connection(asyncio.Protocol):
    def __init__(self, poster: Poster) -> None:
        self._poster = poster
        self._seen = b""
        self._asked = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        self._poster.lost(self, unanswered=self._asked)

    def send(self, request: bytes) -> None:
        self._asked = True
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._seen += data
        if self._seen.endswith(b"\r\n\r\n") or b"problem" in self._seen:
            good = self._seen.startswith(b"HTTP/1.1 200")
            self._seen = b""
            self._asked = False
            self._poster.answered(self, good=good)


def schedule(plan: Plan) -> list[tuple[float, int]]:
    """Seconds from the start, and the customer, of each message."""
    dice = random.Random(plan.seed)
    found = []
    if plan.fill:
        found = [(place / plan.rate, place) for place in range(plan.customers)]
    at = plan.customers / plan.rate if plan.fill else 0.0
    end = at + plan.warm_up + plan.seconds
    while (at := at + dice.expovariate(plan.rate)) < end:
        found.append((at, dice.randrange(plan.customers)))
    return found


def requests(plan: Plan, due: list[tuple[float, int]]) -> list[bytes]:
    people = customers(plan.customers, seed=1)
    ids = Wamids(plan.seed)
    stamp = int(time.time())
    found = []
    for index, (_, who) in enumerate(due):
        person = people[who]
        sent = text_message(f"{plan.mark}{index}", person, ids.inbound(person), timestamp=stamp)
        body = encode(webhook(messages_change(Number(), [sent], [person])))
        head = (
            f"POST /webhooks/whatsapp HTTP/1.1\r\nHost: 127.0.0.1:{plan.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"X-Hub-Signature-256: {sign(body, plan.secret)}\r\n\r\n"
        )
        found.append(head.encode() + body)
    return found


# --- where messages arrive -----------------------------------------------------------------------


async def read_socket(
    plan: Plan, token: str, take: Callable[[object], None], ready: asyncio.Event
) -> None:
    """An agent's client: applies every `message.received`."""
    async with connect(
        plan.stream, compression=None, max_size=None, ping_interval=None, max_queue=4096
    ) as socket:
        hello = {"type": "hello", "token": token, "cursor": None}
        await socket.send(json.dumps(hello))
        async for text in socket:
            frame = orjson.loads(text)
            match frame["type"]:
                case "welcome":
                    ready.set()
                case "event":
                    take(words(frame))
                case "events":
                    for one in frame["events"]:
                        take(words(one))


def words(change: dict[str, Any]) -> object:
    event = change["event"]
    return event["data"]["message"]["text"] if event["type"] == "message.received" else None


async def read_topic(plan: Plan, take: Callable[[object], None], ready: asyncio.Event) -> None:
    """The floor's end: a bare consumer of all partitions."""
    consumer = AIOKafkaConsumer(bootstrap_servers=plan.servers, enable_auto_commit=False)
    await consumer.start()
    try:
        parts = range(CONVERSATION_EVENTS.partitions)
        consumer.assign([TopicPartition(plan.topic, part) for part in parts])
        await consumer.seek_to_end()
        ready.set()
        while True:
            for batch in (await consumer.getmany(timeout_ms=1000)).values():
                for record in batch:
                    take(orjson.loads(record.value)["text"])
    finally:
        await consumer.stop()


# --- the run -------------------------------------------------------------------------------------


class Processors:
    """How much of a core each watched process takes between two moments."""

    def __init__(self, watch: dict[str, int]) -> None:
        self._found = {name: psutil.Process(pid) for name, pid in watch.items()}
        self._found["load"] = psutil.Process()
        self._before: dict[str, float] = {}
        self._began = 0.0

    def start(self) -> None:
        self._began = time.perf_counter()
        self._before = {name: self._seconds(one) for name, one in self._found.items()}

    def stop(self) -> dict[str, float]:
        took = time.perf_counter() - self._began
        return {
            name: round((self._seconds(one) - self._before[name]) / took, 3)
            for name, one in self._found.items()
        }

    @staticmethod
    def _seconds(process: psutil.Process) -> float:
        times = process.cpu_times()
        return times.user + times.system


async def measure(plan: Plan) -> dict[str, Any]:
    due = schedule(plan)
    bodies = requests(plan, due)
    arrivals = Arrivals(plan.mark, len(due))
    readers = []
    if plan.stream:
        for place, token in enumerate(plan.tokens):
            ready = asyncio.Event()
            take = arrivals.take if place == 0 else _ignore
            readers.append(asyncio.create_task(read_socket(plan, token, take, ready)))
            await first(ready.wait(), readers[-1])
    else:
        ready = asyncio.Event()
        readers.append(asyncio.create_task(read_topic(plan, arrivals.take, ready)))
        await first(ready.wait(), readers[-1])
    poster = Poster(arrivals)
    await poster.connect(plan.port)
    processors = Processors(plan.watch or {})
    begins = (plan.customers / plan.rate if plan.fill else 0.0) + plan.warm_up
    began = time.perf_counter() + 0.2
    wall = time.time() + 0.2
    watching = False
    for index, (at, _) in enumerate(due):
        if not watching and at >= begins:
            processors.start()
            watching = True
        moment = began + at
        while (wait := moment - time.perf_counter()) > 0:  # noqa: ASYNC110 - a schedule
            await asyncio.sleep(wait)
        arrivals.due[index] = moment
        poster.post(index, bodies[index])
    used = processors.stop() if watching else {}
    arrivals.last = time.perf_counter()
    while (
        len(arrivals.order) + arrivals.refused < len(due)
        and time.perf_counter() - arrivals.last < PATIENCE
    ):
        await asyncio.sleep(0.05)
        for reader in readers:
            if reader.done():
                reader.result()
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    if plan.log:
        rows = zip(arrivals.due, arrivals.arrived, strict=True)
        write_log(plan.log, [[wall + when - began, wall + there - began] for when, there in rows])
    return result(due, arrivals, begins) | {"cpu": used}


def write_log(path: str, told: list[list[float]]) -> None:
    """Due and arrival of each message on the wall clock."""
    Path(path).write_text(json.dumps(told))


async def first(wanted: Any, reader: asyncio.Task[None]) -> None:
    """Wait for the event, or raise what the reader raises."""
    waiting = asyncio.ensure_future(wanted)
    await asyncio.wait({waiting, reader}, return_when=asyncio.FIRST_COMPLETED)
    if not waiting.done():
        waiting.cancel()
        reader.result()
        raise RuntimeError("the stream was closed")


def _ignore(_text: object) -> None:
    pass


def result(due: list[tuple[float, int]], arrivals: Arrivals, begins: float) -> dict[str, Any]:
    """Latencies in milliseconds of what was due after the warm-up; order and losses of all."""
    counted = [i for i, (at, _) in enumerate(due) if at >= begins]
    late = sorted(1000 * (arrivals.posted[i] - arrivals.due[i]) for i in counted)
    took = sorted(
        1000 * (arrivals.arrived[i] - arrivals.due[i])
        for i in counted
        if not math.isnan(arrivals.arrived[i])
    )
    newest: dict[int, int] = {}
    out_of_order = 0
    for index in arrivals.order:
        who = due[index][1]
        out_of_order += index < newest.get(who, -1)
        newest[who] = max(index, newest.get(who, -1))
    return {
        "messages": len(counted),
        "p50_ms": quantile(took, 0.5),
        "p90_ms": quantile(took, 0.9),
        "p99_ms": quantile(took, 0.99),
        "max_ms": quantile(took, 1.0),
        "posted_late_p99_ms": quantile(late, 0.99),
        "lost": len(due) - len(arrivals.order) - arrivals.refused,
        "refused": arrivals.refused,
        "twice": arrivals.twice,
        "out_of_order": out_of_order,
        "histogram_ms": [quantile(took, share / 200) for share in range(201)],
    }


def quantile(ordered: list[float], share: float) -> float:
    if not ordered:
        return math.nan
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)


def main(argument: str) -> None:
    members = json.loads(argument)
    plan = Plan(**members | {"tokens": tuple(members["tokens"])})
    with contextlib.suppress(KeyboardInterrupt):
        print(json.dumps(uvloop.run(measure(plan))))


if __name__ == "__main__":
    main(sys.argv[1])
