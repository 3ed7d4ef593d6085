"""Memory of an idle stream, beside the floor: uvicorn's sans-IO WebSocket with an empty app.

`python -m tests.bench.sockets [count]` needs a Redis at ATRIO_REDIS_URL.
"""

import asyncio
import gc
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from websockets.asyncio.client import ClientConnection, connect

AGENTS = 200
_PARALLEL = 50


@dataclass(frozen=True, slots=True)
class SocketCost:
    """Resident bytes per idle socket of the server's process."""

    floor: int
    ours: int
    count: int


async def measure_sockets(redis_url: str, *, count: int = 2000) -> SocketCost:
    """Open `count` sockets to a floor server and to a notifier, each a process of its own."""
    floor = await _cost("floor", redis_url, count)
    ours = await _cost("notifier", redis_url, count)
    return SocketCost(floor, ours, count)


async def _cost(what: str, redis_url: str, count: int) -> int:
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.sockets",
        what,
        redis_url,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1024 * 1024,
    )
    assert server.stdout is not None
    assert server.stdin is not None
    ready = orjson.loads(await server.stdout.readline())
    sockets: list[ClientConnection] = []
    try:
        # What the first connections load once is no cost of each.
        sockets += await _open(ready, 100)
        before = await _resident(server)
        sockets += await _open(ready, count)
        await asyncio.sleep(2)
        return (await _resident(server) - before) // count
    finally:
        for each in sockets:
            each.transport.abort()
        server.stdin.close()
        await server.wait()


async def _resident(server: asyncio.subprocess.Process) -> int:
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(b"collect\n")
    await server.stdout.readline()
    statm = await asyncio.to_thread(Path(f"/proc/{server.pid}/statm").read_text)
    return int(statm.split()[1]) * 4096


async def _open(ready: dict[str, Any], count: int) -> list[ClientConnection]:
    limit = asyncio.Semaphore(_PARALLEL)
    tokens = ready["tokens"]

    async def one(number: int) -> ClientConnection:
        async with limit:
            socket = await connect(ready["url"], compression=None, ping_interval=None)
            if tokens:
                token = tokens[number % len(tokens)]
                hello = {"type": "hello", "token": token, "cursor": None}
                await socket.send(orjson.dumps(hello).decode())
                assert "welcome" in str(await socket.recv())
            return socket

    return list(await asyncio.gather(*map(one, range(count))))


async def _empty(scope: Any, receive: Any, send: Any) -> None:
    del scope
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def _tell_when_asked(url: str, tokens: list[str]) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    sys.stdout.buffer.write(orjson.dumps({"url": url, "tokens": tokens}) + b"\n")
    sys.stdout.buffer.flush()
    while await reader.readline():
        gc.collect()
        sys.stdout.buffer.write(b"collected\n")
        sys.stdout.buffer.flush()


async def _serve_floor() -> None:
    server = uvicorn.Server(
        uvicorn.Config(
            _empty,
            port=0,
            ws="websockets-sansio",
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
        )
    )
    serving = asyncio.create_task(server._serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    await _tell_when_asked(f"ws://127.0.0.1:{port}/v1/stream", [])
    server.should_exit = server.force_exit = True
    await serving


async def _serve_notifier(redis_url: str) -> None:
    import structlog

    from services.notifier.settings import NotifierSettings
    from tests.integration.notifier.pods import running
    from tests.integration.notifier.world import Tenant

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    settings = NotifierSettings(
        redis_url=redis_url,
        redis_prefix=f"bench-{asyncio.get_running_loop().time()}:",
        kafka_servers="127.0.0.1:1",
        notifier_connections_per_agent=100,
    )
    tenant = Tenant()
    agents = [f"agent{number}" for number in range(AGENTS)]
    async with running(settings, kafka=False) as pod:
        await pod.feed(tenant.keyset(), tenant.tenant(), *map(tenant.agent, agents))
        tokens = [tenant.token(agent) for agent in agents]
        await _tell_when_asked(f"{pod.url}/v1/stream", tokens)
        pod.server.force_exit = True


def main() -> None:
    import os

    match sys.argv[1:]:
        case ["floor", _]:
            asyncio.run(_serve_floor())
        case ["notifier", redis_url]:
            asyncio.run(_serve_notifier(redis_url))
        case rest:
            redis_url = os.environ.get("ATRIO_REDIS_URL", "redis://127.0.0.1:6379/0")
            count = int(rest[0]) if rest else 2000
            cost = asyncio.run(measure_sockets(redis_url, count=count))
            print(f"idle socket, {cost.count}: {cost.ours:,} bytes, floor {cost.floor:,}")


if __name__ == "__main__":
    main()
