"""A tenant's people, chats and events as inbox would write them, and a client of the stream."""

import asyncio
import itertools
import time
import uuid
from datetime import UTC, datetime
from typing import Any, Self

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from shared.contracts.directory import EntityKind, directory_key
from shared.contracts.envelope import Envelope
from shared.contracts.events import PAYLOADS
from shared.contracts.records import InRecord, OutRecord
from shared.contracts.topics import CONVERSATION_EVENTS, DIRECTORY, Topic

AT = "2026-06-01T12:00:00.000Z"
PATIENCE = 10.0
_versions = itertools.count(1)


def in_record(out: OutRecord) -> InRecord:
    return InRecord(out.topic.base, 0, 0, out.key, out.value, tuple(out.headers), 0)


def record(
    topic: Topic, key: str, kind: str, tenant: str, sequence: int, data: dict[str, Any] | None
) -> OutRecord:
    envelope = Envelope(
        id=f"{key}:{sequence}",
        type=kind,
        source="inbox",
        time=AT,
        tenant=tenant,
        subject=key,
        sequence=sequence,
    )
    if data is not None and kind in PAYLOADS:
        PAYLOADS[kind].model_validate(data)
    value = None if data is None else orjson.dumps(data)
    return OutRecord(topic, key.encode(), value, envelope.headers())


class Tenant:
    """People of one tenant, and the tokens that they would get."""

    def __init__(self, name: str = "") -> None:
        self.id = name or uuid.uuid4().hex
        self._key = Ed25519PrivateKey.generate()
        self._kid = uuid.uuid4().hex

    def keyset(self) -> OutRecord:
        jwk = jwt.algorithms.OKPAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        entry = {
            "id": self._kid,
            "version": 1,
            "issuer": "test",
            "keys": [{**jwk, "kid": self._kid, "use": "sig", "alg": "EdDSA"}],
        }
        return self._entry("platform", EntityKind.KEYSET, self._kid, entry)

    def tenant(self, status: str | None = "active") -> OutRecord:
        entry = None if status is None else {"id": self.id, "version": 1, "name": "T"}
        if entry is not None:
            entry["status"] = status
        return self._entry(self.id, EntityKind.TENANT, self.id, entry)

    def agent(
        self, agent: str, *, role: str = "agent", teams: tuple[str, ...] = (), **more: Any
    ) -> OutRecord:
        entry = {
            "id": agent,
            "tenant": self.id,
            "version": 1,
            "name": agent.title(),
            "role": role,
            "team_ids": list(teams),
            **more,
        }
        return self._entry(self.id, EntityKind.AGENT, agent, entry)

    def team(self, team: str) -> OutRecord:
        entry = {"id": team, "tenant": self.id, "version": 1, "name": team.title()}
        return self._entry(self.id, EntityKind.TEAM, team, entry)

    def no_agent(self, agent: str) -> OutRecord:
        return self._entry(self.id, EntityKind.AGENT, agent, None)

    def token(self, agent: str, **claims: Any) -> str:
        now = time.time()
        payload = {
            "iss": "test",
            "sub": agent,
            "tenant": self.id,
            "role": "agent",
            "aud": "atrio",
            "iat": now,
            "exp": now + 3600,
            "jti": uuid.uuid4().hex,
        }
        return jwt.encode(
            payload | claims, self._key, algorithm="EdDSA", headers={"kid": self._kid}
        )

    def ticket(self, agent: str) -> str:
        return self.token(agent, aud="atrio-stream", exp=time.time() + 30)

    def _entry(
        self, tenant: str, kind: EntityKind, entity: str, entry: dict[str, Any] | None
    ) -> OutRecord:
        key = directory_key(tenant, kind, entity).decode()
        return record(DIRECTORY, key, f"directory.{kind.value}", tenant, next(_versions), entry)


class Chat:
    """A conversation that moves; each move gives the next version's event."""

    def __init__(self, tenant: Tenant, *, team: str | None = None) -> None:
        self.tenant = tenant
        self.id = uuid.uuid4().hex
        self.version = 0
        self.status: str | None = None
        self.assignee: str | None = None
        self.team = team

    def received(self, text: str = "hola") -> OutRecord:
        """A customer's message; the first one opens the chat On Hold."""
        status = self.status if self.status in ("open", "on_hold") else "on_hold"
        assignee = self.assignee if status == "open" else None
        return self._event("message.received", status, assignee, self.team, text)

    def assigned(self, agent: str) -> OutRecord:
        return self._event("conversation.assigned", "open", agent, self.team)

    def transferred(self, *, agent: str | None = None, team: str | None = None) -> OutRecord:
        if agent is not None:
            return self._event("conversation.transferred", "open", agent, self.team)
        return self._event("conversation.transferred", "on_hold", None, team)

    def held(self) -> OutRecord:
        return self._event("conversation.held", "on_hold", None, self.team)

    def closed(self) -> OutRecord:
        return self._event("conversation.closed", "closed", self.assignee, self.team)

    def deleted(self) -> OutRecord:
        return self._event("conversation.deleted", "closed", self.assignee, self.team)

    def _event(
        self, kind: str, status: str, assignee: str | None, team: str | None, text: str = ""
    ) -> OutRecord:
        before = {"status": self.status, "assignee": self.assignee, "team": self.team}
        if self.status is None:
            before = {"status": None, "assignee": None, "team": None}
        self.version += 1
        self.status, self.assignee, self.team = status, assignee, team
        data: dict[str, Any] = {"conversation": self._state(), "before": before}
        if kind.startswith("message."):
            data["message"] = self._message(text)
        else:
            data["actor"] = {"kind": "system"}
        return record(CONVERSATION_EVENTS, self.id, kind, self.tenant.id, self.version, data)

    def _state(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "version": self.version,
            "status": self.status,
            "episode": 1,
            "epoch": 1,
            "assignee": self.assignee and {"id": self.assignee},
            "team": self.team and {"id": self.team},
            "number": {"id": "n1"},
            "contact": {"id": "c1"},
            "labels": [],
            "unread": 1,
            "last_message": None,
            "opened_at": AT,
            "closed_at": None,
            "waiting_since": AT,
            "window_closes_at": None,
            "updated_at": datetime.now(UTC).isoformat(),
        }

    def _message(self, text: str) -> dict[str, Any]:
        return {
            "id": uuid.uuid4().hex,
            "wamid": None,
            "conversation_id": self.id,
            "seq": self.version,
            "direction": "in",
            "type": "text",
            "text": text,
            "media": None,
            "content": {},
            "reply_to": None,
            "reactions": [],
            "edited": False,
            "revoked": False,
            "sent_at": None,
            "received_at": AT,
            "author": {"kind": "contact"},
            "client_id": None,
            "status": None,
            "error": None,
        }


class Seen:
    """What a client holds after applying its frames: its chats with their last versions."""

    def __init__(self) -> None:
        self.chats: dict[str, int] = {}
        self.events: list[tuple[str, str, int]] = []
        self.cursor = ""

    def apply(self, change: str, event: dict[str, Any]) -> None:
        chat, version = event.get("conversation_id"), event["version"]
        if chat is None:
            return
        self.events.append((change, chat, version))
        if change == "enter":
            assert chat not in self.chats, "entered twice"
            self.chats[chat] = version
        else:
            assert self.chats[chat] + 1 == version, "a gap between enter and leave"
            self.chats[chat] = version
            if change == "leave":
                del self.chats[chat]


class Socket:
    """A client of `/v1/stream`."""

    def __init__(self, connection: ClientConnection, seen: Seen | None = None) -> None:
        self.connection = connection
        self.seen = seen or Seen()
        self.welcome: dict[str, Any] = {}

    @classmethod
    async def open(cls, url: str, **options: Any) -> Self:
        return cls(await connect(f"{url}/v1/stream", compression=None, max_size=None, **options))

    async def send(self, **frame: Any) -> None:
        await self.connection.send(orjson.dumps(frame).decode())

    async def hello(self, token: str, *, cursor: str | None = None, **more: Any) -> dict[str, Any]:
        await self.send(type="hello", token=token, cursor=cursor, **more)
        self.welcome = await self.frame()
        self.seen.cursor = self.welcome.get("cursor", "")
        return self.welcome

    async def frame(self, patience: float = PATIENCE) -> dict[str, Any]:
        async with asyncio.timeout(patience):
            text = await self.connection.recv()
        frame: dict[str, Any] = orjson.loads(text)
        for item in frame.get("events") or ([frame] if frame["type"] == "event" else []):
            self.seen.apply(item["change"], item["event"])
        if "cursor" in frame:
            self.seen.cursor = frame["cursor"]
        return frame

    async def until(self, count: int) -> list[tuple[str, str, int]]:
        """Read until so many conversation events were seen over the life of `seen`."""
        while len(self.seen.events) < count:
            await self.frame()
        return self.seen.events

    async def of_type(self, kind: str) -> dict[str, Any]:
        while (frame := await self.frame())["type"] != kind:
            pass
        return frame

    async def settled(self) -> list[tuple[str, str, int]]:
        """Everything that was on its way before the answer to a ping."""
        await self.send(type="ping")
        await self.of_type("pong")
        return self.seen.events

    async def close_code(self) -> int | None:
        """Read to the end; the code that the server closed with."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    await self.connection.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None

    async def close(self) -> None:
        await self.connection.close()
