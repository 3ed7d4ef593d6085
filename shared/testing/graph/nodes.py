"""Graph's answers to everything but a send: one function for each call."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from shared.testing.graph.errors import GraphError
from shared.testing.graph.model import Json
from shared.testing.graph.world import World

Answer = Callable[[World, str, Request, Json | None], Awaitable[Response]]

_NOT_DIGITS = re.compile(r"[^0-9]")
_APP = {
    "id": "900000000000001",
    "link": "https://www.facebook.com/games/?app_id=900000000000001",
    "name": "Example app",
}
_BLOCKED_MOST = 64_000


async def mark_read(world: World, node: str, request: Request, body: Json | None) -> Response:
    """`{status: "read", message_id}`, with or without `typing_indicator`."""
    body = body or {}
    if body.get("messaging_product") != "whatsapp":
        raise GraphError(100, "The parameter messaging_product is required.")
    if body.get("status") != "read":
        raise GraphError(100, "Param status must be one of {READ}.")
    message_id = body.get("message_id")
    if not message_id:
        raise GraphError(131008, "Parameter 'message_id' is mandatory")
    if not isinstance(message_id, str) or not message_id.startswith("wamid."):
        raise GraphError(131009, "Parameter 'message_id' is not valid.")
    typing = body.get("typing_indicator")
    if typing is not None and (not isinstance(typing, dict) or typing.get("type") != "text"):
        raise GraphError(100, "Param typing_indicator[type] must be one of {TEXT}.")
    world.number(node)
    return answer({"success": True})


def answer(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")
