"""HTTP: the probes are shared; here is what an operator asks routing."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.routing.storage.directory import Directory
from services.routing.storage.tenant import TenantStore
from shared.contracts.errors import TransientError


def state_routes(
    directory: Directory,
    stores: Callable[[str], TenantStore],
    token: str,
    clock: Callable[[], datetime],
) -> list[Route]:
    """`GET /internal/v1/state?tenant=`: queue lengths and loads, for debugging."""
    expected = f"Bearer {token}".encode()

    async def state(request: Request) -> Response:
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, expected):
            return _problem(401, "unauthenticated")
        tenant = request.query_params.get("tenant", "")
        roster = directory.roster(tenant)
        if roster is None:
            return _problem(404, "unknown_tenant")
        try:
            found = await stores(tenant).snapshot(tuple(roster.agents), clock())
        except TransientError:
            return _problem(503, "redis_away")
        return JSONResponse(
            {
                "tenant": tenant,
                "built": found.built,
                "strategy": roster.policy.strategy,
                "queues": [
                    {"team": one.team, "waiting": one.waiting, "reason": one.reason}
                    for one in found.queues
                ],
                "reserved": found.reserved,
                "agents": [
                    {
                        "id": agent,
                        "load": one.load,
                        "capacity": roster.agents[agent].capacity,
                        "connected": one.connected,
                    }
                    for agent, one in found.agents.items()
                ],
            }
        )

    return [Route("/internal/v1/state", state)]


def _problem(status: int, code: str) -> Response:
    return JSONResponse(
        {"status": status, "code": code},
        status_code=status,
        media_type="application/problem+json",
    )
