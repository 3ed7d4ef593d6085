"""`/v1/stream`: the WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import timedelta
from typing import Any

import structlog

from services.notifier.api.protocol import WIRE, Wire
from services.notifier.decisions import frames
from services.notifier.decisions.feed import origin_allowed
from services.notifier.model import CloseCode
from services.notifier.workflows.client import Client
from services.notifier.workflows.streams import RefusedError, Streams
from shared.observability.metrics import Metrics

log = structlog.get_logger()

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class DisconnectedError(Exception):
    """The client is gone."""


class WebSocketStream:
    """The ASGI application of one path; needs the server's `StreamProtocol`."""

    def __init__(
        self,
        streams: Streams,
        *,
        origins: frozenset[str],
        hello_timeout: timedelta,
        metrics: Metrics,
    ) -> None:
        self._streams = streams
        self._origins = origins
        self._hello_timeout = hello_timeout.total_seconds()
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection to its end."""
        wire: Wire = scope["extensions"][WIRE]
        origin = header(scope, b"origin")
        # Nothing of the request is needed any more; an idle stream keeps what it must.
        scope["headers"] = []
        await receive()
        await send({"type": "websocket.accept"})
        why: CloseCode | None = None
        try:
            if not origin_allowed(origin, self._origins):
                why = CloseCode.BAD_ORIGIN
            else:
                why = await self._serve(wire, receive)
        except DisconnectedError:
            pass
        except RefusedError as refused:
            why = refused.why
        except frames.BadFrameError:
            why = CloseCode.BAD_HELLO
        if why is not None:
            wire.close(why)
        ended = why or (wire.client.closed if wire.client is not None else None)
        self._metrics.socket_closes.labels(ended.code if ended else "client").inc()

    async def _serve(self, wire: Wire, receive: Receive) -> CloseCode | None:
        try:
            async with asyncio.timeout(self._hello_timeout):
                text = await self._text(receive)
        except TimeoutError:
            return CloseCode.NO_HELLO
        async with self._streams.opened(wire, frames.read_hello(text), "websocket") as client:
            del text
            return await self._converse(client, receive)

    async def _converse(self, client: Client, receive: Receive) -> CloseCode | None:
        while client.closed is None:
            try:
                await self._streams.on_frame(client, await self._text(receive))
            except RefusedError as refused:
                client.close(refused.why)
            except frames.BadFrameError:
                client.close(CloseCode.BAD_HELLO)
        return None

    async def _text(self, receive: Receive) -> str:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            raise DisconnectedError
        text = message.get("text")
        if not isinstance(text, str):
            raise frames.BadFrameError("binary")
        return text


def header(scope: Scope, name: bytes) -> str | None:
    """The first value of a request header."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return None
