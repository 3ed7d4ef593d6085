"""The composition root of the fake: one world, its dispatcher, Graph's paths, the control API."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from shared.testing.graph.calls import GraphApi
from shared.testing.graph.control import Control
from shared.testing.graph.settings import GraphSettings
from shared.testing.graph.world import World


def create_app(settings: GraphSettings) -> Starlette:
    """Build the application; webhooks are delivered while its lifespan lasts."""
    world = World(settings)
    graph = GraphApi(world)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await world.dispatcher.start()
        try:
            yield
        finally:
            await world.dispatcher.stop()

    every = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    routes = [
        *graph.routes()[:1],
        Route("/livez", _alive),
        Route("/readyz", _alive),
        *Control(world).routes(),
        *graph.routes()[1:],
        Route("/{path:path}", graph.unknown, methods=every),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


async def _alive(_request: Request) -> Response:
    return PlainTextResponse("ok")
