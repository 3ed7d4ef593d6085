"""uvicorn's connections with what the stream needs: a sink without a task, ends in our words."""

from __future__ import annotations

import logging
import random
from typing import Any

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import CloseCode as WebSocketCloseCode
from websockets.server import ServerProtocol

from services.notifier.model import CloseCode
from services.notifier.workflows.client import Client

WIRE = "atrio.wire"
"""Where the ASGI scope's extensions hold the connection's `Wire`."""
RESTART = "atrio.restart"
"""Where the ASGI scope of a long response holds what ends it at a restart."""

_LINGER_SECONDS = 10.0
# On SIGTERM so many connections a second are sent to other pods, over at most this long.
_RESTARTS_PER_SECOND = 200
_RESTART_DEADLINE_SECONDS = 15.0


class _Connection(ServerProtocol):
    """Ends with our own code when a frame is over the limit, which closes the connection itself."""

    @override
    def fail(self, code: WebSocketCloseCode | int, reason: str = "") -> None:
        if code == WebSocketCloseCode.MESSAGE_TOO_BIG:
            super().fail(CloseCode.FRAME_TOO_LARGE.code, CloseCode.FRAME_TOO_LARGE.value)
        else:
            super().fail(code, reason)


class Wire:
    """A WebSocket as a sink: writes go straight to the transport."""

    __slots__ = ("_protocol", "client")

    def __init__(self, protocol: StreamProtocol) -> None:
        self._protocol = protocol
        self.client: Client | None = None

    def bind(self, client: Client) -> None:
        """Flush this client when the transport takes more again."""
        self.client = client

    def writable(self) -> bool:
        """False while the transport holds more than its high-water mark."""
        return self._protocol.writable.is_set()

    def write(self, frame: bytes, cursor: str | None) -> None:
        """Send one text frame."""
        del cursor
        self._protocol.send_frame(frame)

    def close(self, why: CloseCode) -> None:
        """Send the close frame behind what was written, and wait for the other side a while."""
        self._protocol.cut(why)


class StreamProtocol(WebSocketsSansIOProtocol):
    """uvicorn's `websockets-sansio` connection with a `Wire`.

    ASGI's send() waits for a transport that is full, so a slow client would never learn why it was
    cut, and every frame would cost a task. Idle it costs no more than its parent.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = _Connection(
            max_size=self.config.ws_max_size, logger=logging.getLogger("uvicorn.error")
        )
        self._wire = Wire(self)

    @override
    async def run_asgi(self) -> None:
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions[WIRE] = self._wire
        await super().run_asgi()

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        if self._wire.client is not None:
            self._wire.client.flush()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._wire.client is not None:
            self._wire.client.gone(CloseCode.RESTART)

    def send_frame(self, frame: bytes) -> None:
        """Write one text frame; nothing happens on a connection that is ending."""
        if self.close_sent or self.disconnected or self.transport.is_closing():
            return
        try:
            self.conn.send_text(frame)
        except InvalidState:
            return
        self.transport.write(b"".join(self.conn.data_to_send()))

    def cut(self, why: CloseCode) -> None:
        """Close with a code of ours; what does not read it in time is aborted."""
        if self.close_sent or self.disconnected or self.transport.is_closing():
            return
        try:
            self.conn.send_close(why.code, why.value)
        except InvalidState:
            return
        self._end(why.code, why.value)

    def _end(self, code: int, reason: str) -> None:
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.close_sent = True
        self.stop_keepalive()
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(_LINGER_SECONDS, self.transport.abort)

    @override
    def handle_parser_exception(self) -> None:
        # Closing the transport now, with unread bytes in it, would reset the connection and
        # take the close frame away from the client: half-close, and discard what still comes.
        sent = self.conn.close_sent
        if not self.close_sent and sent is not None:
            self._end(sent.code, sent.reason)
            if self.transport.can_write_eof():
                self.transport.write_eof()

    @override
    def shutdown(self) -> None:
        if self.close_sent or not self.handshake_complete:
            super().shutdown()
            return
        spread = min(_RESTART_DEADLINE_SECONDS, len(self.connections) / _RESTARTS_PER_SECOND)
        self.loop.call_later(random.uniform(0, spread), self._restart)  # noqa: S311 - jitter

    def _restart(self) -> None:
        if self._wire.client is not None:
            self._wire.client.close(CloseCode.RESTART)
        else:
            self.cut(CloseCode.RESTART)


class StreamHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP connection, whose long responses hear of a restart."""

    @override
    def shutdown(self) -> None:
        super().shutdown()
        scope: dict[str, Any] = getattr(self, "scope", {})
        end = scope.get(RESTART)
        if end is not None:
            spread = min(_RESTART_DEADLINE_SECONDS, len(self.connections) / _RESTARTS_PER_SECOND)
            self.loop.call_later(random.uniform(0, spread), end)  # noqa: S311 - jitter
