"""Builds the service: the only place that knows all its parts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import structlog
from starlette.applications import Starlette

from services.ingest.api import Limits, WebhookApp
from services.ingest.gateways import QuarantineLog
from services.ingest.settings import IngestSettings
from services.ingest.storage import Apps, Directory
from services.ingest.workflows.accept import AcceptWebhook, Sorter
from services.ingest.workflows.redrive import Redrive
from shared.contracts.topics import CREDENTIALS, DIRECTORY
from shared.ids import IdHasher
from shared.kafka.publisher import Publisher
from shared.kafka.table import CompactedTable
from shared.observability.components import Components
from shared.observability.loop_lag import LoopLag
from shared.observability.metrics import Metrics
from shared.observability.probes import probe_routes
from shared.sealing import Sealer

log = structlog.get_logger()


class Service:
    """What `create_app` returns: an ASGI application; `halted` is set when it must be restarted."""

    broker = None
    """Ingest has no FastStream broker: it subscribes to nothing that it must work off."""

    def __init__(self, settings: IngestSettings) -> None:
        self.metrics = Metrics()
        self.halted = asyncio.Event()
        directory = Directory(self.metrics)
        apps = Apps(Sealer(settings.master_key.get_secret_value()))
        self._directory = CompactedTable(settings, DIRECTORY, directory.apply, metrics=self.metrics)
        self._credentials = CompactedTable(settings, CREDENTIALS, apps.apply, metrics=self.metrics)
        self._complete = {"directory": False, "credentials": False, "publisher": False}
        self._ready = False
        self._publisher = publisher = Publisher(
            settings,
            client_id="atrio-ingest",
            linger_ms=settings.ingest_linger_ms,
            metrics=self.metrics,
        )
        sorter = Sorter(directory, IdHasher(settings.key_secret.get_secret_value()))
        self._redrive = Redrive(
            QuarantineLog(settings),
            sorter,
            directory,
            publisher,
            ready=self.is_ready,
            timeout=settings.ingest_publish_timeout,
        )
        self._components = Components(
            LoopLag(self.metrics),
            publisher,
            self._directory,
            self._credentials,
            _Background(self._redrive.run, self.halted),
        )
        self.asgi = WebhookApp(
            AcceptWebhook(sorter, publisher, self.metrics, timeout=settings.ingest_publish_timeout),
            apps,
            secrets=settings.platform_secrets(),
            verify_token=settings.verify_token.get_secret_value(),
            ready=self.is_ready,
            limits=Limits(
                body_bytes=settings.ingest_body_limit,
                in_flight_bytes=settings.ingest_in_flight_limit,
                body_timeout=settings.ingest_body_timeout,
            ),
            metrics=self.metrics,
            others=Starlette(
                routes=probe_routes(live=self.dead, ready=self.missing, metrics=self.metrics),
                lifespan=self._lifespan,
            ),
        )

    def is_ready(self) -> bool:
        """Whether both compacted topics were read to their ends, and Kafka was there, once.

        Later gaps do not count: while Kafka is away a body cannot be stored either, and a number
        that is learnt late is driven again out of quarantine.
        """
        return self._ready or not self.missing()

    def missing(self) -> Sequence[str]:
        """What has not been there yet."""
        complete = self._complete
        if not complete["directory"]:
            complete["directory"] = self._directory.caught_up
        if not complete["credentials"]:
            complete["credentials"] = self._credentials.caught_up
        if not complete["publisher"]:
            complete["publisher"] = self._publisher.connected
        missing = [f"{name}_incomplete" for name, done in complete.items() if not done]
        self._ready = not missing
        return missing

    def dead(self) -> Sequence[str]:
        """What only a restart mends."""
        return ["redrive_stopped"] if self.halted.is_set() else []

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        async with self._components:
            yield


class _Background:
    """A task for the life of the service; if it ends by itself, the service must end too."""

    def __init__(self, run: Callable[[], Awaitable[None]], halted: asyncio.Event) -> None:
        self._run = run
        self._halted = halted
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._guarded(), name="redrive")

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _guarded(self) -> None:
        try:
            await self._run()
        except Exception:
            log.exception("redrive.failed")
            self._halted.set()


def create_app(settings: IngestSettings) -> Service:
    """Build the service; nothing connects before its lifespan begins."""
    return Service(settings)
