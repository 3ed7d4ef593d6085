"""An agent's WebSocket: opened as a client opens it, every frame shown and kept."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

import aiohttp
import orjson

from deploy.local.demo.places import Places
from deploy.local.demo.rest import Json, Rest
from deploy.local.demo.screen import Screen
from deploy.local.errors import LocalStackError

PATIENCE_SECONDS: Final = 15.0


class Viewer:
    """What one agent has received so far."""

    def __init__(self, name: str, color: str, screen: Screen) -> None:
        self.name = name
        self.color = color
        self.events: list[tuple[str, Json]] = []
        """(change, event) in the order of arrival."""
        self.cursor: str | None = None
        """Where a new socket goes on."""
        self._screen = screen
        self._changed = asyncio.Condition()
        self._ended: str | None = None
        self._welcomed = False

    async def read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Show every frame until the socket closes."""
        self._welcomed, self._ended = False, None
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                await self._take(orjson.loads(message.data))
        await self._end(f"closed with {socket.close_code}")

    async def _take(self, frame: Json) -> None:
        self.cursor = frame.get("cursor", self.cursor)
        match frame:
            case {"type": "event", "change": str(change), "event": event}:
                several = [(change, event)]
            case {"type": "events", "events": list(items)}:
                several = [(item["change"], item["event"]) for item in items]
            case _:
                self._screen.frame(self.name, self.color, frame)
                several = []
        for change, event in several:
            self._screen.event(self.name, self.color, change, event)
        async with self._changed:
            self._welcomed = self._welcomed or frame.get("type") == "welcome"
            self.events += several
            self._changed.notify_all()

    async def _end(self, why: str) -> None:
        async with self._changed:
            self._ended = why
            self._changed.notify_all()

    async def welcomed(self) -> None:
        """Wait until the feed has begun: an earlier event is in the lists, not in the feed."""
        async with self._changed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._changed.wait_for(lambda: self._welcomed or self._ended)
        if not self._welcomed:
            why = self._ended or f"was not welcomed in {PATIENCE_SECONDS:g} s"
            raise LocalStackError(f"{self.name}'s socket {why}. See notifier's log (make logs).")

    async def seen(self, what: str, wanted: Callable[[str, Json], bool], since: int = 0) -> Json:
        """Wait for an event after the first `since`; `wanted` judges (change, event).

        Raises `LocalStackError`, with `what` in its message, when it does not come in 15 s.
        """

        def found() -> Json | None:
            later = self.events[since:]
            return next((event for change, event in later if wanted(change, event)), None)

        async with self._changed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._changed.wait_for(lambda: found() or self._ended)
        event = found()
        if event is None:
            why = self._ended or f"received nothing like it in {PATIENCE_SECONDS:g} s"
            raise LocalStackError(
                f"{what}: {self.name}'s socket {why}. See the logs of inbox, notifier and delivery "
                "(make logs), and docs/runbooks/when-something-is-down.md."
            )
        return event


@contextlib.asynccontextmanager
async def watching(
    session: aiohttp.ClientSession, places: Places, person: Rest, viewer: Viewer
) -> AsyncIterator[asyncio.Task[None]]:
    """Open the stream for the viewer; the task ends when the socket does."""
    hello = {"type": "hello", "token": person.token, "cursor": viewer.cursor}
    try:
        socket = await session.ws_connect(places.stream)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise LocalStackError(
            f"{places.stream} does not open ({type(error).__name__}): does notifier run? "
            "(make status)"
        ) from error
    try:
        await socket.send_json(hello)
        reading = asyncio.create_task(viewer.read(socket))
        try:
            await viewer.welcomed()
            yield reading
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
    finally:
        await socket.close()
