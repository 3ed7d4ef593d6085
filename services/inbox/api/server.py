"""The HTTP application around the routers: problems, limits, CORS, OpenAPI, one line per call."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.inbox.api.problems import complete, install, problem
from services.inbox.api.security import Guard
from services.inbox.model.audit import SYSTEM_ACTOR, acting
from shared.observability.metrics import Metrics

log = structlog.get_logger()
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """`body_limits` are exceptions from `body_limit`, by the beginning of the path."""

    allowed_origins: Sequence[str]
    body_limit: int
    body_limits: Mapping[str, int] = field(default_factory=dict)


def create_api(
    routers: Sequence[APIRouter],
    *,
    guard: Guard,
    probes: Sequence[BaseRoute],
    options: HttpOptions,
    metrics: Metrics,
    lifespan: Lifespan,
) -> FastAPI:
    """The FastAPI application of inbox."""
    api = FastAPI(
        title="Atrio inbox",
        version="1",
        lifespan=lifespan,
        redirect_slashes=False,
    )
    api.state.guard = guard
    install(api)
    for router in routers:
        api.include_router(router)
    api.router.routes.extend(probes)
    # The last one added is the outermost.
    api.add_middleware(BodyLimit, options=options)
    api.add_middleware(
        CORSMiddleware,
        allow_origins=list(options.allowed_origins),
        # For the refresh cookie, from the origins that are named.
        allow_credentials=True,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=[
            "authorization",
            "content-type",
            "idempotency-key",
            "if-match",
            "if-none-match",
            "traceparent",
        ],
        expose_headers=["etag", "retry-after"],
        max_age=600,
    )
    api.add_middleware(CallLog, metrics=metrics)
    _describe(api)
    return api


def _describe(api: FastAPI) -> None:
    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            document = get_openapi(
                title=api.title, version=api.version, routes=api.routes, openapi_version="3.1.0"
            )
            complete(document)
            api.openapi_schema = document
        return api.openapi_schema

    # FastAPI's documented way to change the document.
    api.openapi = openapi  # type: ignore[method-assign]


class BodyLimit:
    """413 for a body that is larger than its path allows, told or sent in pieces."""

    def __init__(self, app: ASGIApp, options: HttpOptions) -> None:
        self._app = app
        self._options = options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit(scope["path"])
        told = dict(scope["headers"]).get(b"content-length", b"0")
        if not told.isdigit() or int(told[:20]) > limit:
            await problem("too_large", limit=limit)(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413)
            return message

        await self._app(scope, counted, send)

    def _limit(self, path: str) -> int:
        for prefix, limit in self._options.body_limits.items():
            if path.startswith(prefix):
                return limit
        return self._options.body_limit


class CallLog:
    """One wide line and two metrics per call, by the route's template and never by its ids."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            # Whose call it is is said by the dependency that recognises them.
            with acting(SYSTEM_ACTOR):
                await self._app(scope, receive, watched)
        finally:
            self._note(scope, status, time.perf_counter() - started)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        if scope["path"] in {"/livez", "/readyz", "/metrics"}:
            return
        path = getattr(scope.get("route"), "path", "none")
        route = f"{scope['method']} {path}" if path != "none" else "none"
        self._metrics.api_requests.labels(route, str(status)).inc()
        self._metrics.api_seconds.labels(route).observe(seconds)
        state = scope.get("state", {})
        log.info(
            "api.answered",
            route=route,
            status=status,
            ms=round(seconds * 1000, 1),
            tenant=state.get("tenant"),
            agent=state.get("agent"),
        )
