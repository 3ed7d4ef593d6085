"""The process runner of every service: uvicorn, signals, logs and exit codes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal

import structlog
import uvicorn
from pydantic import ValidationError
from typing_extensions import override

from shared.observability.collector import relax_collector
from shared.observability.logs import configure_logging

log = structlog.get_logger()

EXIT_STARTUP: Final = 3
EXIT_HALTED: Final = 4
_GRACE_SECONDS = 25


class _Server(uvicorn.Server):
    """uvicorn raises the signal again when it is done, which ends the process by it: not ours."""

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


async def serve(
    app: Any,
    host: str,
    port: int,
    *,
    halted: asyncio.Event | None = None,
    grace_seconds: int = _GRACE_SECONDS,
    websockets: Literal["auto", "none", "websockets-sansio"] | type[asyncio.Protocol] = "none",
    websocket_max_bytes: int = 64 * 1024,
    http: Literal["httptools"] | type[asyncio.Protocol] = "httptools",
    proxied: bool = True,
) -> int:
    """Serve an ASGI app until SIGTERM, SIGINT or `halted`; the exit code of the process.

    On a signal: no new connections, requests in flight get `grace_seconds`, then the lifespan
    ends (consumers drain, clients close). `halted` set means that a part refuses to go on:
    the same way down, but code 4. A lifespan that fails to start gives 3. `websockets` and `http`
    may be protocol classes, whose `shutdown()` says how a connection takes its leave. `proxied`:
    who the client is, is read from a trusted proxy's headers.
    """
    server = _Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            loop="uvloop",
            http=http,
            ws=websockets,
            ws_max_size=websocket_max_bytes,
            ws_per_message_deflate=False,
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            proxy_headers=proxied,
            timeout_graceful_shutdown=grace_seconds,
        )
    )

    async def stop_when_halted() -> None:
        if halted is not None:
            await halted.wait()
            server.should_exit = True

    watch = asyncio.create_task(stop_when_halted())
    try:
        await server.serve()
    except SystemExit as stop:
        # uvicorn leaves so when the port is taken.
        return stop.code if isinstance(stop.code, int) and stop.code else EXIT_STARTUP
    finally:
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch
    if not server.started:
        return EXIT_STARTUP
    return EXIT_HALTED if halted is not None and halted.is_set() else 0


def run_service(
    name: str,
    create_app: Callable[[], Any],
    *,
    host: str,
    port: int,
    log_level: str = "INFO",
    **options: Any,
) -> None:
    """Run a service and leave the process: 0 after a signal, else non-zero with one clear line.

    `create_app` builds the composition root inside the running loop. What it returns is served:
    its `asgi` when it has one, else itself; its `halted` event, when it has one, ends the process.
    """
    configure_logging(service=name, level=log_level)

    async def main() -> int:
        built = create_app()
        app = getattr(built, "asgi", built)
        relax_collector()
        log.info("service.starting", host=host, port=port)
        code = await serve(app, host, port, halted=getattr(built, "halted", None), **options)
        log.info("service.stopped", code=code)
        return code

    try:
        with asyncio.Runner(loop_factory=_uvloop) as runner:
            code = runner.run(main())
    except KeyboardInterrupt:
        code = 0
    except Exception as error:
        told = f"{name}: cannot start: {_told(error)}"
        log.critical("service.failed", error=type(error).__name__, exc_info=error)
        logging.shutdown()
        sys.stderr.write(told + "\n")
        code = EXIT_STARTUP
    else:
        if code == EXIT_STARTUP:
            sys.stderr.write(f"{name}: cannot start: see the error above\n")
    sys.exit(code)


def _uvloop() -> asyncio.AbstractEventLoop:
    import uvloop  # noqa: PLC0415 - only the process itself needs it

    return uvloop.new_event_loop()


def _told(error: Exception) -> str:
    # A settings error names the fields, never the values.
    if isinstance(error, ValidationError):
        fields = sorted({".".join(map(str, each["loc"])) for each in error.errors()})
        return f"settings are not valid: {', '.join(fields)}"
    return f"{type(error).__name__}: {error}"
