from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from services.routing.storage.installation import InstallationStore
from services.routing.storage.scripts import Scripts
from services.routing.storage.tenant import TenantStore
from shared.redis.client import RedisClient
from shared.redis.settings import RedisSettings
from tests.integration.routing.inbox_model import InboxModel
from tests.integration.routing.world import World, Worlds
from tests.support.redis_server import RedisServer


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
async def redis(redis_server: RedisServer, topic_prefix: str) -> AsyncIterator[RedisClient]:
    settings = RedisSettings(redis_url=redis_server.url, redis_prefix=topic_prefix)
    client = RedisClient(settings, client_name="test")
    yield client
    await client.aclose()


@pytest.fixture
def stores(redis: RedisClient) -> Callable[[str], TenantStore]:
    scripts = Scripts.load()
    return lambda tenant: TenantStore(redis, scripts, tenant)


@pytest.fixture
async def store(stores: Callable[[str], TenantStore]) -> TenantStore:
    """A tenant whose projection is built."""
    store = stores("acme")
    await store.finish_rebuild("t", await store.begin_rebuild("t", stop=True))
    return store


@pytest.fixture
def world(store: TenantStore) -> Worlds:
    return lambda capacity, policy=None: World(store, InboxModel(capacity), policy)


@pytest.fixture
def installation(redis: RedisClient) -> InstallationStore:
    return InstallationStore(redis)
