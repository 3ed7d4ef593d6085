"""Running the application: uvicorn with a way to drop connections, as a process or in a test."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import uvicorn
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shared.testing.graph.app import create_app
from shared.testing.graph.calls import ABORT
from shared.testing.graph.settings import GraphSettings


class DroppingProtocol(HttpToolsProtocol):
    """Gives the application the connection's `abort`: ASGI has no word for hanging up."""

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        scope: Any = self.scope
        scope["extensions"] = {ABORT: {"abort": self.transport.abort}}


class _Server(uvicorn.Server):
    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever runs the server."""
        yield


class GraphServer:
    """The fake on a socket: `async with GraphServer(settings) as graph: graph.url`.

    Port 0 takes a free port. `serve()` is the process form: it stops on SIGTERM or SIGINT.
    """

    def __init__(self, settings: GraphSettings | None = None) -> None:
        self.settings = settings or GraphSettings()
        self._task: asyncio.Task[None] | None = None
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        return f"http://{self.settings.host}:{self.settings.port}"

    async def serve(self) -> None:
        """Serve until a signal comes."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with self:
            await stop.wait()

    async def __aenter__(self) -> Self:
        listener = _listen(self.settings.host, self.settings.port)
        port = listener.getsockname()[1]
        self.settings = self.settings.model_copy(update={"port": port})
        self._server = _Server(
            uvicorn.Config(
                create_app(self.settings),
                http=DroppingProtocol,
                ws="none",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                log_config=None,
                timeout_graceful_shutdown=5,
                timeout_keep_alive=75,
            )
        )
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started:
            if self._task.done():
                await self._task
            await asyncio.sleep(0.005)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is None or self._task is None:
            return
        self._server.should_exit = True
        await self._task


def _listen(host: str, port: int) -> socket.socket:
    # socket.create_server leaves proto 0, and asyncio then leaves Nagle's algorithm on for what
    # is accepted: each answer (head and body are two writes) took 44 ms instead of 1.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(2048)
    return listener
