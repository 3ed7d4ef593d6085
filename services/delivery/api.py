"""The internal routes of delivery."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.delivery.model import Stop
from services.delivery.workflows.numbers import Numbers
from shared.contracts.envelope import timestamp

Endpoint = Callable[[Request], Awaitable[Response]]


def number_routes(numbers: Numbers, token: str) -> list[Route]:
    """Stopped numbers and their causes; `resume` for causes that no new token ends."""

    async def stopped(_: Request) -> Response:
        return JSONResponse({"items": [_shown(stop) for stop in numbers.stops()]})

    async def resume(request: Request) -> Response:
        params = request.path_params
        if not numbers.resume_now(params["tenant"], params["number"]):
            return _problem(404, "not_stopped")
        return Response(status_code=204)

    return [
        Route("/internal/v1/numbers", _guarded(stopped, token), methods=["GET"]),
        Route(
            "/internal/v1/numbers/{tenant}/{number}/resume",
            _guarded(resume, token),
            methods=["POST"],
        ),
    ]


def _guarded(endpoint: Endpoint, token: str) -> Endpoint:
    expected = f"Bearer {token}".encode()

    async def guarded(request: Request) -> Response:
        given = request.headers.get("authorization", "").encode()
        if not token or not hmac.compare_digest(given, expected):
            return _problem(401, "unauthorized")
        return await endpoint(request)

    return guarded


def _shown(stop: Stop) -> dict[str, object]:
    return {
        "number_id": stop.number_id,
        "tenant": stop.tenant,
        "reason": stop.reason,
        "error": {"code": stop.error.code, "title": stop.error.title, "detail": stop.error.detail},
        "since": timestamp(stop.at),
        "until": None if stop.until is None else timestamp(stop.until),
    }


def _problem(status: int, code: str) -> Response:
    return JSONResponse(
        {"type": "about:blank", "status": status, "code": code},
        status_code=status,
        media_type="application/problem+json",
    )
