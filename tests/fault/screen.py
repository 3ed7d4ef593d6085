"""What an agent's screen does: a socket with a cursor, the state that its frames build.

The rules are the stream's: position first, then state over REST; frames that came meanwhile are
applied on top; a frame whose version is not above what is held is dropped; a lost connection is
resumed with the last cursor.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from tests.fault.office import Person, RestError
from tests.fault.recording import View


class Screen:
    """One person's open screen."""

    def __init__(self, person: Person, url: str, *, seed: int) -> None:
        self.person = person
        self._url = url.replace("http://", "ws://") + "/v1/stream"
        self._random = random.Random(seed)
        self._cursor: str | None = None
        self._socket: ClientConnection | None = None
        self._sync: asyncio.Task[None] | None = None
        self._waiting: list[View] = []
        self._left: dict[str, int] = {}
        self.conversations: dict[str, View] = {}
        self.messages: dict[str, View] = {}
        self.seen: dict[str, float] = {}
        """Message id of WhatsApp -> when it was first seen (monotonic)."""
        self.settled: dict[str, float] = {}
        """Our id of an outgoing message -> when WhatsApp's acceptance was first seen."""
        self.breaches: list[str] = []
        self.counts: Counter[str] = Counter()

    @property
    def current(self) -> bool:
        """Connected, and the state is built."""
        return self._socket is not None and self._sync is None and self._cursor is not None

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            with contextlib.suppress(OSError, WebSocketException, TimeoutError):
                async with connect(
                    self._url, max_size=None, open_timeout=5, close_timeout=1, ping_interval=5
                ) as socket:
                    await self._converse(socket)
            self._lost()
            await asyncio.sleep(self._random.uniform(0.1, 0.5))

    async def drop(self) -> None:
        """Cut the connection as a bad network does; the screen comes back by itself."""
        if self._socket is not None:
            self.counts["cut"] += 1
            self._socket.transport.abort()

    async def _converse(self, socket: ClientConnection) -> None:
        hello = {"type": "hello", "token": self.person.rest.token, "cursor": self._cursor}
        await socket.send(orjson.dumps(hello).decode())
        self._socket = socket
        async for raw in socket:
            self._on_frame(orjson.loads(raw))

    def _lost(self) -> None:
        self._socket = None
        if self._sync is not None:
            # The lists were not read to the end: what is held belongs to no cursor.
            self._sync.cancel()
            self._sync = None
            self._cursor = None

    def _on_frame(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "welcome" if frame["resumed"]:
                self.counts["resumed"] += 1
                if self._cursor is None:
                    self.breaches.append(f"{self.person.name}: resumed from nowhere")
            case "welcome" | "resync":
                self.counts["fetched"] += 1
                if self._sync is not None:
                    self._sync.cancel()
                self._waiting = []
                self._sync = asyncio.create_task(self._fetch(frame["cursor"]))
            case "event" | "events":
                if self._sync is not None:
                    self._waiting.append(frame)
                else:
                    self._apply(frame)
            case _:
                self.counts[frame["type"]] += 1

    async def _fetch(self, cursor: str) -> None:
        while True:
            try:
                fresh = await self.person.conversations()
                break
            except RestError:
                await asyncio.sleep(0.2)
        self.conversations = fresh
        self.messages = {}
        self._left = {}
        self._cursor = cursor
        self._sync = None
        for frame in self._waiting:
            self._apply(frame)
        self._waiting = []

    def _apply(self, frame: dict[str, Any]) -> None:
        for one in frame.get("events") or [frame]:
            self._apply_event(one["change"], one["event"])
        self._cursor = frame["cursor"]

    def _apply_event(self, change: str, event: dict[str, Any]) -> None:
        conversation = event.get("conversation_id")
        if conversation is None:
            return
        self.counts["events"] += 1
        data, version = event["data"], event["version"]
        held = self.conversations.get(conversation)
        last = held["version"] if held is not None else self._left.get(conversation, 0)
        if version <= last:
            self.counts["old"] += 1
            return
        if held is not None and version > last + 1:
            where = f"{self.person.name}: {conversation}"
            self.breaches.append(f"{where} went from {last} to {version} by a frame")
        if change == "leave":
            self.conversations.pop(conversation, None)
            self._left[conversation] = version
            gone = [m for m, v in self.messages.items() if v["conversation_id"] == conversation]
            for message in gone:
                del self.messages[message]
            return
        self.conversations[conversation] = data["conversation"]
        message = data.get("message")
        if message is not None:
            self.messages[message["id"]] = message
            self._note(message)

    def _note(self, message: View) -> None:
        now = time.monotonic()
        if message["direction"] == "in":
            self.seen.setdefault(message["wamid"], now)
        elif message["wamid"] is not None:
            self.settled.setdefault(message["id"], now)
