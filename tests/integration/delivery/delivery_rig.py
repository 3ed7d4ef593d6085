"""Pods of delivery on a real MongoDB and the fake Graph, with a publisher in memory."""

import asyncio
import base64
import contextlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from services.delivery.app import Engine
from services.delivery.model import FaultPoint
from services.delivery.settings import DeliverySettings
from services.delivery.workflows.clock import Clock
from shared.contracts.envelope import Envelope, read_envelope, timestamp
from shared.contracts.records import InRecord, OutRecord
from shared.mongo.client import Database
from shared.sealing import Sealer

MASTER_KEY = base64.b64encode(b"k" * 32).decode()
TENANT = "acme"
NUMBER = "number-1"
PHONE_NUMBER_ID = "200000000000001"
PARTITIONS = 12


class SimulatedCrashError(BaseException):
    """The process is gone: nothing after this line runs."""


class Faults:
    """Crashes or waits at named points; counts what was passed."""

    def __init__(self) -> None:
        self.passed: Counter[str] = Counter()
        self.crash_at: str | None = None
        self.crash_after = 1
        self.gates: dict[str, asyncio.Event] = {}
        self.reached: dict[str, asyncio.Event] = {}

    def hold(self, point: FaultPoint) -> None:
        self.gates[point] = asyncio.Event()
        self.reached[point] = asyncio.Event()

    def release(self, point: FaultPoint) -> None:
        self.gates.pop(point).set()

    async def reach(self, point: str) -> None:
        self.passed[point] += 1
        if self.crash_at == point and self.passed[point] >= self.crash_after:
            raise SimulatedCrashError(point)
        if point in self.gates:
            self.reached[point].set()
            await self.gates[point].wait()


class Log:
    """Stands for delivery.events.v1; `away` answers like a broker that is down."""

    def __init__(self) -> None:
        self.records: list[OutRecord] = []
        self.away = False
        self.changed = asyncio.Event()

    async def publish_runs(self, runs: Sequence[Sequence[OutRecord]]) -> list[bool]:
        await asyncio.sleep(0)
        if self.away:
            return [False] * len(runs)
        for run in runs:
            self.records.extend(run)
        return [True] * len(runs)

    def events(self, kind: str | None = None) -> list[tuple[Envelope, dict[str, Any]]]:
        found = [(read_envelope(r.headers), orjson.loads(r.value or b"{}")) for r in self.records]
        return [each for each in found if kind in (None, each[0].type)]

    def outcomes(self, message_id: str) -> list[str]:
        return [e.type for e, data in self.events() if data.get("message_id") == message_id]


class TestClock(Clock):
    """Can be moved ahead."""

    __test__ = False

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead)

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class GraphControl:
    """The fake's control API."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session

    async def call(self, method: str, path: str, body: object = None) -> Any:
        async with self._session.request(
            method, f"{self.url}/_control{path}", data=None if body is None else orjson.dumps(body)
        ) as response:
            assert response.status < 300, await response.text()
            return await response.json()

    async def reset(self) -> None:
        await self.call("POST", "/reset")
        await self.call("PATCH", "/webhooks", {"enabled": False})

    async def fault(self, **fault: object) -> str:
        return str((await self.call("POST", "/faults", fault))["id"])

    async def unsubscribe(self, waba_id: str) -> None:
        url = f"{self.url}/v25.0/{waba_id}/subscribed_apps"
        async with self._session.delete(url, headers={"authorization": "Bearer t"}) as response:
            assert response.status == 200, await response.text()

    async def sends(self) -> list[dict[str, Any]]:
        """Bodies of the POSTs that arrived, in order."""
        found = await self.call("GET", "/requests?call=send&limit=10000")
        return [each["body"] for each in found["items"]]

    async def accepted(self) -> list[str]:
        """Our message ids, in the order in which Meta accepted them."""
        found = await self.call("GET", "/sent?limit=10000")
        return [_callback(each) for each in found["items"]]


def _callback(sent: dict[str, Any]) -> str:
    return str(sent.get("biz_opaque_callback_data") or sent["body"]["biz_opaque_callback_data"])


def quick(graph_url: str, home: Path, **changes: object) -> DeliverySettings:
    """Settings whose lease is over after a second."""
    values: dict[str, object] = {
        "graph_url": graph_url,
        "home": home,
        "master_key": MASTER_KEY,
        "key_secret": "key-secret",
        "graph_connect": timedelta(seconds=0.2),
        "graph_total": timedelta(seconds=0.5),
        "delivery_deadline": timedelta(seconds=0.25),
        "delivery_lease": timedelta(seconds=1),
        "delivery_rate": 1000,
    } | changes
    return DeliverySettings.model_validate(values)


class Pod:
    """One process of delivery, without Kafka's consumer: commands and partitions are handed in."""

    def __init__(self, settings: DeliverySettings, database: Database, log: Log) -> None:
        self.faults = Faults()
        self.clock = TestClock()
        self.log = log
        self.engine = Engine(
            settings,
            database,
            log,
            partitions=PARTITIONS,
            clock=self.clock,
            faults=self.faults,
            jitter=lambda: 0.0,
        )
        self.crashed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(
        self, *, partitions: Iterable[int] = range(PARTITIONS), known: bool = True
    ) -> None:
        await self.engine.start()
        if known:
            self.know(credentials())
        self._task = asyncio.create_task(self._run())
        self.assign(partitions)

    def assign(self, partitions: Iterable[int]) -> None:
        self.engine.ownership.revoke_all()
        self.engine.ownership.assign(partitions)

    def know(self, record: InRecord) -> None:
        self.engine.numbers.apply_credentials(record)

    async def take_in(self, *records: InRecord) -> None:
        try:
            rejected = await self.engine.intake.take_in(records)
        except SimulatedCrashError:
            await self.stop()
            self.crashed.set()
            return
        assert not rejected

    async def _run(self) -> None:
        engine = self.engine
        try:
            async with asyncio.TaskGroup() as tasks:
                for loop in (
                    engine.numbers.run,
                    engine.ownership.run,
                    engine.calls.run,
                    engine.bots.run,
                    engine.sender.run,
                ):
                    tasks.create_task(loop())
        except BaseExceptionGroup as group:
            if group.subgroup(SimulatedCrashError) is None:
                raise
            await engine.aclose()
            self.crashed.set()

    def advance(self, seconds: float) -> None:
        self.clock.ahead += seconds
        self.engine.sender.wake()

    async def stop(self) -> None:
        """End at once, like a kill."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self.engine.aclose()
        await asyncio.sleep(0)  # the transports close one turn later


async def until(condition: Callable[[], object], seconds: float = 8.0) -> None:
    """Poll a condition with a deadline."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds
    while not condition():
        assert loop.time() < ends, "it did not come true in time"
        await asyncio.sleep(0.01)


_offsets = itertools.count()


def in_record(
    kind: str, payload: object, *, key: str = "chat-1", partition: int = 0, event: str | None = None
) -> InRecord:
    offset = next(_offsets)
    now = datetime.now(UTC)
    envelope = Envelope(event or f"e{offset}", kind, "inbox", timestamp(now), TENANT, key)
    return InRecord(
        "whatsapp.outbound.v1",
        partition,
        offset,
        key.encode(),
        orjson.dumps(payload),
        tuple(envelope.headers()),
        int(now.timestamp() * 1000),
    )


def send(message: str, seq: int, *, chat: str = "chat-1", **changes: Any) -> InRecord:
    """A `message.send` of a text; `tenant` is always the same."""
    payload: dict[str, Any] = {
        "message_id": message,
        "conversation_id": chat,
        "number_id": NUMBER,
        "seq": seq,
        "recipient": {"wa_id": "1202555" + f"{sum(chat.encode()):04d}"[-4:]},
        "type": "text",
        "body": {"body": f"text of {message}"},
        "queued_at": timestamp(datetime.now(UTC)),
    }
    partition = changes.pop("partition", 0)
    return in_record("message.send", payload | changes, key=chat, partition=partition)


def credentials(
    version: int = 1,
    token: str = "token-1",
    number: str = NUMBER,
    tenant: str = TENANT,
    **more: object,
) -> InRecord:
    secrets = orjson.dumps({"access_token": token, **more})
    sealed = Sealer(MASTER_KEY).seal(secrets, owner=number)
    phone = PHONE_NUMBER_ID if number == NUMBER else "2000000000" + f"{sum(number.encode()):05d}"
    value = {
        "number_id": number,
        "tenant": tenant,
        "version": version,
        "phone_number_id": phone,
        "sealed": sealed,
    }
    envelope = Envelope("c", "credentials.number", "inbox", timestamp(datetime.now(UTC)), tenant)
    return InRecord(
        "credentials.v1", 0, 0, number.encode(), orjson.dumps(value), tuple(envelope.headers()), 0
    )
