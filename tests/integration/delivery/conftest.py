import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest

from services.delivery.settings import DeliverySettings
from shared.mongo.client import Database, MongoSettings, create_client
from shared.testing.graph.server import GraphServer
from shared.testing.graph.settings import GraphSettings
from tests.integration.delivery.delivery_rig import GraphControl, Log, Pod, quick
from tests.support.stack import Addresses

MakePod = Callable[..., Pod]


@pytest.fixture(scope="session")
async def graph_server() -> AsyncIterator[GraphServer]:
    async with GraphServer(GraphSettings(port=0)) as server:
        yield server


@pytest.fixture
async def graph(graph_server: GraphServer) -> AsyncIterator[GraphControl]:
    async with aiohttp.ClientSession() as session:
        control = GraphControl(graph_server.url, session)
        await control.reset()
        yield control


@pytest.fixture
async def database(stack: Addresses, mongo_db: str) -> AsyncIterator[Database]:
    settings = MongoSettings(mongo_url=stack.mongo_url)
    client = create_client(settings, app_name="delivery-tests", retry_writes=False)
    yield client[mongo_db]
    await client.drop_database(mongo_db)
    client.close()


@pytest.fixture
def events() -> Log:
    return Log()


@pytest.fixture
def settings(graph: GraphControl, tmp_path: Path) -> DeliverySettings:
    return quick(graph.url, tmp_path)


@pytest.fixture
async def make_pod(
    settings: DeliverySettings, database: Database, events: Log
) -> AsyncIterator[MakePod]:
    made: list[Pod] = []

    def make(**changes: object) -> Pod:
        mine = settings.model_copy(update=changes)
        made.append(Pod(mine, database, events))
        return made[-1]

    yield make
    await asyncio.gather(*(pod.stop() for pod in made))


@pytest.fixture
async def pod(make_pod: MakePod) -> Pod:
    one = make_pod()
    await one.engine.create_indexes()
    await one.start()
    return one
