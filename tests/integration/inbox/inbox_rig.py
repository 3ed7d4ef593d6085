"""The real inbox in this process, called through ASGI; its MongoDB and Kafka are real."""

import asyncio
import base64
import contextlib
import json
import tempfile
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from services.inbox.app import Service, create_app
from services.inbox.settings import InboxSettings
from shared.faults import FaultPoints
from shared.kafka.topics import ensure_topics
from tests.support.stack import Addresses

MASTER_KEY = base64.b64encode(bytes(range(32))).decode()
PLATFORM_TOKEN = "platform-token"
INTERNAL_TOKEN = "internal-token"
DEADLINE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    @property
    def code(self) -> str | None:
        """The problem's code, checked to be a whole problem."""
        if self.headers.get("content-type") != "application/problem+json":
            return None
        assert self.body["status"] == self.status
        assert self.body["type"].endswith(self.body["code"])
        return str(self.body["code"])


class Http:
    """Calls an ASGI application; `json` may be bytes for bodies that are none."""

    def __init__(self, app: FastAPI, token: str | None = None) -> None:
        self.app = app
        self.token = token

    def as_(self, token: str | None) -> "Http":
        return Http(self.app, token)

    async def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        *,
        told_length: bool = True,
    ) -> Answer:
        raw = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        sent = {"host": "inbox.test", **{k.lower(): v for k, v in (headers or {}).items()}}
        if raw:
            sent.setdefault("content-type", "application/json")
            if told_length:
                sent["content-length"] = str(len(raw))
        if self.token is not None:
            sent.setdefault("authorization", f"Bearer {self.token}")
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(k.encode(), v.encode("latin-1")) for k, v in sent.items()],
            "client": ("127.0.0.1", 1),
            "server": ("inbox.test", 80),
            "state": {},
        }
        pieces = [raw[at : at + 65_536] for at in range(0, len(raw), 65_536)] or [b""]
        incoming = [
            {"type": "http.request", "body": piece, "more_body": number < len(pieces)}
            for number, piece in enumerate(pieces, 1)
        ]
        out: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return incoming.pop(0) if incoming else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            out.append(dict(message))

        try:
            await self.app(scope, receive, send)
        except Exception:
            if not out:  # else it was answered, and raised again for the server's log
                raise
        return Answer(
            out[0]["status"],
            {k.decode(): v.decode() for k, v in out[0]["headers"]},
            b"".join(each.get("body", b"") for each in out[1:]),
        )


@dataclass(frozen=True, slots=True)
class Inbox:
    service: Service
    http: Http
    settings: InboxSettings

    @property
    def platform(self) -> Http:
        return self.http.as_(PLATFORM_TOKEN)

    async def tenant(self, name: str = "Acme") -> "TenantRig":
        """A new tenant with its admin signed in."""
        email = f"admin-{uuid.uuid4().hex}@atrio.test"
        made = await self.platform(
            "POST",
            "/v1/platform/tenants",
            {"name": name, "admin": {"email": email, "name": "Ada", "password": "pw"}},
        )
        assert made.status == 201, made.raw
        token = await self.sign_in(email)
        return TenantRig(
            self, made.body["id"], made.body["admin"]["id"], email, self.http.as_(token)
        )

    async def sign_in(self, email: str, password: str = "pw") -> str:
        answer = await self.http("POST", "/v1/auth/token", {"email": email, "password": password})
        assert answer.status == 200, answer.raw
        return str(answer.body["access_token"])


@dataclass(frozen=True, slots=True)
class TenantRig:
    inbox: Inbox
    id: str
    admin_id: str
    admin_email: str
    admin: Http

    async def agent(self, role: str = "agent", **members: Any) -> tuple[dict[str, Any], Http]:
        """A new agent, and their calls."""
        email = f"{role}-{uuid.uuid4().hex}@atrio.test"
        made = await self.admin(
            "POST",
            "/v1/admin/agents",
            {"email": email, "name": "Ana", "password": "pw", "role": role, **members},
        )
        assert made.status == 201, made.raw
        return made.body, self.inbox.http.as_(await self.inbox.sign_in(email))

    async def number(self, **members: Any) -> dict[str, Any]:
        made = await self.admin("POST", "/v1/admin/numbers", number_body(**members))
        assert made.status == 201, made.raw
        return dict(made.body)


def number_body(**members: Any) -> dict[str, Any]:
    return {
        "phone_number_id": str(uuid.uuid4().int),
        "display_phone_number": "+52 1 55 0000 0000",
        "waba_id": "100000000000001",
        "access_token": "graph-token",
        "app": None,
        "team_id": None,
        "bot": None,
    } | members


async def settings_for(stack: Addresses, prefix: str, database: str) -> InboxSettings:
    """Settings with topics of their own."""
    made = InboxSettings(
        kafka_servers=stack.kafka_servers,
        mongo_url=stack.mongo_url,
        topic_prefix=prefix,
        inbox_db=database,
        key_secret="key-secret",
        master_key=MASTER_KEY,
        platform_token=PLATFORM_TOKEN,
        internal_token=INTERNAL_TOKEN,
        allowed_origins=("http://console.test",),
        mongo_min_pool_size=0,
        home=Path(tempfile.mkdtemp(prefix="atrio-inbox-")),
    )
    await ensure_topics(made, partitions=1)
    return made


@contextlib.asynccontextmanager
async def running(
    settings: InboxSettings, faults: FaultPoints | None = None, *, ready: bool = True
) -> AsyncIterator[Inbox]:
    """The service between start and stop, ready to be called."""
    service = create_app(settings, faults=faults)
    async with service.asgi.router.lifespan_context(service.asgi):
        if ready:
            await eventually(lambda: not service.missing())
        yield Inbox(service, Http(service.asgi), settings)


async def eventually(holds: Any) -> None:
    """Polls until `holds()` is true."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not holds():  # noqa: ASYNC110 - other processes have no event to wait for
            await asyncio.sleep(0.02)
