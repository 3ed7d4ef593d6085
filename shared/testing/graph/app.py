"""The composition root of the fake: one world, its dispatcher, Graph's paths, the control API."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from shared.testing.graph.calls import GraphApi
from shared.testing.graph.settings import GraphSettings
from shared.testing.graph.world import World

# In the order they are tried: the send is first because it is most of the traffic.
_VERSION = "/{version}"


def create_app(settings: GraphSettings) -> Starlette:
    """Build the application; it starts delivering webhooks with its lifespan."""
    world = World(settings)
    graph = GraphApi(world)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await world.dispatcher.start()
        try:
            yield
        finally:
            await world.dispatcher.stop()

    routes = [
        Route("/{version}/{node}/messages", graph.messages, methods=["POST"]),
        Route("/livez", _alive),
        Route("/readyz", _alive),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


async def _alive(request: Request) -> Response:
    return PlainTextResponse("ok")
