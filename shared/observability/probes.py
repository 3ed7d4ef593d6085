"""`/livez`, `/readyz` and `/metrics`, the same in every service."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.observability.metrics import Metrics

Reasons = Callable[[], Sequence[str]]
"""What is wrong now, one stable code each; empty when all is well."""


def well() -> Sequence[str]:
    """Nothing is wrong."""
    return ()


def probe_routes(
    *, live: Reasons = well, ready: Reasons = well, metrics: Metrics | None = None
) -> list[Route]:
    """The probe routes: 200 `{"status": "ok"}` or 503 with the reasons.

    `live` answers from memory alone: a dead dependency must never restart the pods.
    """

    async def livez(_: Request) -> Response:
        return _answer(live())

    async def readyz(_: Request) -> Response:
        return _answer(ready())

    routes = [Route("/livez", livez), Route("/readyz", readyz)]
    if metrics is not None:

        async def exposition(_: Request) -> Response:
            body, content_type = metrics.render()
            return Response(body, headers={"content-type": content_type})

        routes.append(Route("/metrics", exposition))
    return routes


def _answer(reasons: Sequence[str]) -> Response:
    if reasons:
        return JSONResponse({"status": "unavailable", "reasons": list(reasons)}, status_code=503)
    return JSONResponse({"status": "ok"})
