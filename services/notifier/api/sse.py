"""`/v1/stream/sse`: the same stream as server-sent events, for clients without WebSockets."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import parse_qs

import orjson

from services.notifier.api.protocol import RESTART
from services.notifier.api.stream import Receive, Scope, Send, header
from services.notifier.decisions.feed import origin_allowed
from services.notifier.decisions.frames import Hello
from services.notifier.model import CloseCode
from services.notifier.workflows.client import Client
from services.notifier.workflows.streams import RefusedError, Streams
from shared.observability.metrics import Metrics

_HIGH_WATER = 64 * 1024
_COMMENT_SECONDS = 15.0
_LINGER_SECONDS = 5.0
_STATUS = {
    CloseCode.BAD_HELLO: 400,
    CloseCode.BAD_TOKEN: 401,
    CloseCode.BAD_ORIGIN: 403,
    CloseCode.TOO_MANY: 429,
}


class EventSink:
    """Holds frames until the response's own task sends them."""

    def __init__(self) -> None:
        self.client: Client | None = None
        self.ended: CloseCode | None = None
        self._wake = asyncio.Event()
        self._parts: list[bytes] = []
        self._size = 0
        self.writer: asyncio.Task[None] | None = None

    def bind(self, client: Client) -> None:
        """Flush this client when the response takes more again."""
        self.client = client

    def writable(self) -> bool:
        """False while a send waits for the transport with enough behind it."""
        return self._size < _HIGH_WATER

    def write(self, frame: bytes, cursor: str | None) -> None:
        """Queue one frame as one event; its id is the cursor."""
        part = (b"id: %b\n" % cursor.encode() if cursor else b"") + b"data: %b\n\n" % frame
        self._parts.append(part)
        self._size += len(part)
        self._wake.set()

    def close(self, why: CloseCode) -> None:
        """Say why as the last event, then end the response."""
        self.ended = why
        told = orjson.dumps({"code": why.code, "reason": why.value})
        self._parts.append(b"event: close\ndata: %b\n\n" % told)
        self._wake.set()
        if self.writer is not None:
            # A transport that takes nothing would keep the response for ever.
            asyncio.get_running_loop().call_later(_LINGER_SECONDS, self.writer.cancel)

    def restart(self) -> None:
        """End because the server does."""
        if self.client is not None:
            self.client.close(CloseCode.RESTART)

    async def take(self) -> bytes:
        """What to send next; a comment when nothing came for a while."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_COMMENT_SECONDS):
                await self._wake.wait()
        self._wake.clear()
        parts, self._parts, self._size = self._parts, [], 0
        return b"".join(parts) or b": still here\n\n"

    def sent(self) -> None:
        """The transport took it: let the client go on."""
        if self.client is not None:
            self.client.flush()


class EventStream:
    """The ASGI application of one path."""

    def __init__(self, streams: Streams, *, origins: frozenset[str], metrics: Metrics) -> None:
        self._streams = streams
        self._origins = origins
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one response to its end."""
        origin = header(scope, b"origin")
        cors = [(b"vary", b"Origin")]
        if origin is not None and origin_allowed(origin, self._origins):
            cors.append((b"access-control-allow-origin", origin.encode()))
        if scope["method"] == "OPTIONS":
            cors.append((b"access-control-allow-headers", b"authorization, last-event-id"))
            cors.append((b"access-control-allow-methods", b"GET"))
            await _answer(send, 204, cors, b"")
            return
        if scope["method"] != "GET":
            await _answer(send, 405, [*cors, (b"allow", b"GET")], b"")
            return
        sink = EventSink()
        try:
            hello = read_request(scope, self._origins)
            async with self._streams.opened(sink, hello, "sse"):
                scope[RESTART] = sink.restart
                await _stream(sink, receive, send, cors)
            ended = sink.ended.code if sink.ended else "client"
            self._metrics.socket_closes.labels(ended).inc()
        except RefusedError as refused:
            self._metrics.socket_closes.labels(refused.why.code).inc()
            problem = {"status": _STATUS.get(refused.why, 503), "code": refused.why.value}
            kind = [(b"content-type", b"application/problem+json")]
            await _answer(send, problem["status"], cors + kind, orjson.dumps(problem))


def read_request(scope: Scope, origins: frozenset[str]) -> Hello:
    """What a WebSocket says in its hello. Raises RefusedError."""
    if not origin_allowed(header(scope, b"origin"), origins):
        raise RefusedError(CloseCode.BAD_ORIGIN)
    query = {
        name: values[0]
        for name, values in parse_qs(scope["query_string"].decode("latin-1")).items()
    }
    kind, _, credentials = (header(scope, b"authorization") or "").partition(" ")
    token = credentials if kind.lower() == "bearer" else query.get("ticket")
    if not token:
        raise RefusedError(CloseCode.BAD_TOKEN)
    cursor = header(scope, b"last-event-id") or query.get("cursor")
    return Hello(token, cursor, query.get("scope"))


async def _stream(
    sink: EventSink, receive: Receive, send: Send, cors: list[tuple[bytes, bytes]]
) -> None:
    headers = [
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),
        *cors,
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def write() -> None:
        while sink.ended is None:
            body = await sink.take()
            more = sink.ended is None
            await send({"type": "http.response.body", "body": body, "more_body": more})
            sink.sent()

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async with asyncio.TaskGroup() as group:
        writer, watcher = group.create_task(write()), group.create_task(watch())
        sink.writer = writer
        writer.add_done_callback(lambda _: watcher.cancel())
        watcher.add_done_callback(lambda _: writer.cancel())


async def _answer(
    send: Send, status: object, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
