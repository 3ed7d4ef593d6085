"""The composition root."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from faststream.kafka import KafkaBroker
from starlette.applications import Starlette

from services.routing.api import state_routes
from services.routing.gateways import DecisionLog, InboxClient
from services.routing.handlers import Handlers, register
from services.routing.settings import RoutingSettings
from services.routing.storage.directory import Directory
from services.routing.storage.installation import InstallationStore
from services.routing.storage.scripts import Scripts
from services.routing.storage.tenant import TenantStore
from services.routing.workflows.project import Projector
from services.routing.workflows.rebuild import Rebuilder
from services.routing.workflows.route import Limits, RouteTenant
from services.routing.workflows.timer import Router
from shared.contracts.topics import DIRECTORY
from shared.kafka.publisher import Publisher
from shared.kafka.subscribe import ConsumerRuntime
from shared.kafka.table import CompactedTable
from shared.observability.components import Components
from shared.observability.metrics import Metrics
from shared.observability.probes import probe_routes
from shared.redis.client import RedisClient


@dataclass(frozen=True, slots=True)
class RoutingApp:
    """`asgi` serves HTTP; its lifespan starts and stops everything else."""

    asgi: Starlette
    broker: KafkaBroker
    halted: asyncio.Event
    metrics: Metrics


def now() -> datetime:
    """The time in UTC."""
    return datetime.now(UTC)


def create_app(settings: RoutingSettings, *, clock: Callable[[], datetime] = now) -> RoutingApp:
    """Build the service; nothing connects before the lifespan starts."""
    metrics = Metrics()
    redis = RedisClient(settings, client_name="routing")
    scripts = Scripts.load()
    publisher = Publisher(settings, client_id="routing", metrics=metrics)
    directory = Directory()
    installation = InstallationStore(redis)

    def stores(tenant: str) -> TenantStore:
        return TenantStore(redis, scripts, tenant)

    def wake(tenants: Iterable[str]) -> None:
        router.wake(tenants)

    table = CompactedTable(settings, DIRECTORY, directory.apply, metrics=metrics)
    token = settings.internal_token.get_secret_value()
    rebuilder = Rebuilder(
        redis=redis,
        inbox=InboxClient(settings.inbox_url, token, timeout=settings.routing_list_timeout),
        directory=directory,
        directory_complete=lambda: table.caught_up,
        installation=installation,
        stores=stores,
        wake=wake,
        check_every=settings.routing_check_every,
        metrics=metrics,
    )
    limits = Limits(
        reservation=settings.routing_reservation,
        repeat_after=settings.routing_repeat_after,
        parks=settings.routing_parks_per_turn,
    )
    route = RouteTenant(stores, DecisionLog(publisher), limits, clock=clock, metrics=metrics)
    router = Router(
        redis=redis,
        directory=directory,
        installation=installation,
        stores=stores,
        route=route,
        rebuilder=rebuilder,
        every=settings.routing_timer,
        clock=clock,
        metrics=metrics,
    )
    runtime = ConsumerRuntime(settings, publisher, metrics=metrics)
    projector = Projector(stores, installation, wake=wake, clock=clock, metrics=metrics)
    broker = register(Handlers(projector, metrics), runtime)

    health = _Health(table, runtime, router, rebuilder, publisher)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with Components(_Closing(redis), publisher, table, rebuilder, router, runtime):
            yield

    asgi = Starlette(
        routes=[
            *probe_routes(live=health.live, ready=health.ready, metrics=metrics),
            *state_routes(directory, stores, token, clock),
        ],
        lifespan=lifespan,
    )
    return RoutingApp(asgi, broker, runtime.halted, metrics)


@dataclass(frozen=True, slots=True)
class _Health:
    table: CompactedTable
    runtime: ConsumerRuntime
    router: Router
    rebuilder: Rebuilder
    publisher: Publisher

    def live(self) -> Sequence[str]:
        return [*self.runtime.live(), *self.router.live(), *self.rebuilder.live()]

    def ready(self) -> Sequence[str]:
        missing = {
            "directory": not self.table.caught_up,
            "redis": not self.router.redis_answers,
            "rebuild": not self.rebuilder.built,
            "publisher": not self.publisher.healthy,
        }
        return [*self.runtime.ready(), *(name for name, away in missing.items() if away)]


class _Closing:
    """Redis connects by itself at the first call."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    async def start(self) -> None:
        """Nothing to begin."""

    async def aclose(self) -> None:
        await self._redis.aclose()
