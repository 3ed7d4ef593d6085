import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from services.notifier.settings import NotifierSettings
from tests.integration.notifier.pods import Pod, running
from tests.integration.notifier.world import Seen, Socket, Tenant
from tests.support.redis_server import RedisServer

StartPod = Callable[..., Awaitable[Pod]]
Open = Callable[..., Awaitable[Socket]]


@pytest.fixture(scope="session")
def redis_server(
    tmp_path_factory: pytest.TempPathFactory, unavailable: Callable[[str], NoReturn]
) -> Iterator[RedisServer]:
    """A Redis of these tests' own: they flush and kill it."""
    server = RedisServer(Path(tmp_path_factory.mktemp("redis")))
    try:
        server.start()
    except OSError as error:
        unavailable(f"Redis did not start: {error}")
    yield server
    server.kill()


@pytest.fixture
async def start_pod(redis_server: RedisServer, topic_prefix: str) -> AsyncIterator[StartPod]:
    """Pods of one deployment, without Kafka: `Pod.feed` hands records over."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**settings: Any) -> Pod:
            defaults = {
                "redis_url": redis_server.url,
                "redis_prefix": topic_prefix,
                "kafka_servers": "127.0.0.1:1",
                "allowed_origins": "http://console.test",
            }
            made = NotifierSettings(**defaults | settings)
            return await stack.enter_async_context(running(made, kafka=False))

        yield start


@pytest.fixture
def tenant() -> Tenant:
    return Tenant()


@pytest.fixture
async def pod(start_pod: StartPod, tenant: Tenant) -> Pod:
    """A pod that knows ana and luis (agents), eva of team t1, and the supervisor sol."""
    made = await start_pod()
    await introduce(made, tenant)
    return made


async def introduce(pod: Pod, tenant: Tenant) -> None:
    await pod.feed(
        tenant.keyset(),
        tenant.tenant(),
        tenant.agent("ana"),
        tenant.agent("luis"),
        tenant.agent("eva", teams=("t1",)),
        tenant.agent("sol", role="supervisor"),
    )


@pytest.fixture
async def connect(pod: Pod, tenant: Tenant) -> AsyncIterator[Open]:
    """Opens a stream and says hello: `await connect("ana", cursor=...)`."""
    sockets = []

    async def open_one(
        agent: str,
        *,
        on: Pod | None = None,
        of: Tenant | None = None,
        seen: Seen | None = None,
        **hello: Any,
    ) -> Socket:
        socket = await Socket.open((on or pod).url)
        sockets.append(socket)
        socket.seen = seen or socket.seen
        await socket.hello((of or tenant).token(agent), **hello)
        return socket

    yield open_one
    for socket in sockets:
        await socket.close()
