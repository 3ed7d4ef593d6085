from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from shared.testing.graph import GraphServer, GraphSettings
from tests.unit.graph.graph_client import SECRET, Graph, Receiver


@pytest.fixture(scope="session")
async def running_receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application(client_max_size=2**24)
    app.router.add_post("/{path:.*}", receiver.hear)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield receiver
    await runner.cleanup()


@pytest.fixture(scope="session")
async def running_graph(running_receiver: Receiver) -> AsyncIterator[Graph]:
    settings = GraphSettings(
        port=0, seed=1, ingest_url=running_receiver.url, app_secrets=SECRET, kept_requests=50
    )
    async with GraphServer(settings) as server, aiohttp.ClientSession() as http:
        yield Graph(server.url, http, running_receiver)


@pytest.fixture
async def graph(running_graph: Graph) -> AsyncIterator[Graph]:
    """The fake as new, with statuses at once and one to a webhook."""
    receiver = running_graph.receiver
    receiver.hooks.clear()
    receiver.answers.clear()
    receiver.gate = None
    await running_graph.control("PATCH", "webhooks", {"delays_ms": 0, "batch_max": 1})
    yield running_graph
    await running_graph.control("POST", "reset")
