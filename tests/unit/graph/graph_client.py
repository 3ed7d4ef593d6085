"""A running fake seen from outside: its receiver and short forms of the calls."""

import asyncio
import hashlib
import hmac
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
from aiohttp import web

NUMBER = "200000000000001"
SECRET = "unit-secret"
TOKEN = "unit-token"


@dataclass
class Hook:
    path: str
    signature: str
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    def signed_with(self, secret: str) -> bool:
        digest = hmac.new(secret.encode(), self.body, hashlib.sha256).hexdigest()
        return self.signature == f"sha256={digest}"

    def values(self) -> list[Any]:
        return [change["value"] for entry in self.json["entry"] for change in entry["changes"]]

    def statuses(self) -> list[Any]:
        return [status for value in self.values() for status in value.get("statuses", [])]

    def messages(self) -> list[Any]:
        return [message for value in self.values() for message in value.get("messages", [])]


@dataclass
class Receiver:
    """Stands where ingest stands; `answers` are used up first, then 200."""

    url: str = ""
    hooks: list[Hook] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    gate: asyncio.Event | None = None

    def hold(self) -> asyncio.Event:
        """Keep webhooks without an answer until the returned event is set."""
        self.gate = asyncio.Event()
        return self.gate

    async def hear(self, request: web.Request) -> web.Response:
        body = await request.read()
        signature = request.headers.get("X-Hub-Signature-256", "")
        self.hooks.append(Hook(request.path, signature, body))
        if self.gate is not None:
            await self.gate.wait()
        return web.Response(status=self.answers.pop(0) if self.answers else 200)

    def statuses(self) -> list[Any]:
        return [status for hook in self.hooks for status in hook.statuses()]

    def names(self) -> list[str]:
        return [status["status"] for status in self.statuses()]

    def messages(self) -> list[Any]:
        return [message for hook in self.hooks for message in hook.messages()]

    async def until(self, count: int, seconds: float = 5) -> None:
        """Wait until so many webhooks have come."""
        deadline = time.monotonic() + seconds
        while len(self.hooks) < count:
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(self.hooks)} of {count} webhooks came")
            await asyncio.sleep(0.005)


@dataclass
class Graph:
    """A running fake, its receiver, and short forms of the calls."""

    url: str
    http: aiohttp.ClientSession
    receiver: Receiver

    async def call(
        self, method: str, path: str, body: Any = None, *, token: str = TOKEN, **options: Any
    ) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"}
        if body is not None:
            options["json"] = body
        async with self.http.request(
            method, f"{self.url}/v25.0/{path}", headers=headers, **options
        ) as answer:
            raw = await answer.read()
            try:
                return answer.status, orjson.loads(raw)
            except orjson.JSONDecodeError:
                return answer.status, raw

    async def send(self, body: str = "hi", to: str = "+12025550111", **members: Any) -> Any:
        return await self.call("POST", f"{NUMBER}/messages", text(body, to=to, **members))

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        async with self.http.request(method, f"{self.url}/_control/{path}", json=body) as answer:
            found = await answer.json()
            assert answer.status < 300, found
            return found

    async def fault(self, **members: Any) -> Any:
        return await self.control("POST", "faults", members)

    async def idle(self) -> Any:
        told = await self.control("POST", "webhooks/wait", {"timeout_ms": 5000})
        assert told["idle"], told
        return told


def text(body: str = "hi", **members: Any) -> dict[str, Any]:
    base = {"messaging_product": "whatsapp", "type": "text", "text": {"body": body}}
    return {name: member for name, member in {**base, **members}.items() if member is not None}
