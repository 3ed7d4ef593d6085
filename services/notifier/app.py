"""The composition root: builds everything, and takes it down in order."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

from starlette.applications import Starlette

from services.notifier.api.sse import EventStream
from services.notifier.api.stream import Receive, Scope, Send, WebSocketStream
from services.notifier.handlers import declare_subscribers
from services.notifier.settings import NotifierSettings
from services.notifier.storage.directory import Directory
from services.notifier.storage.feed import FeedStore
from services.notifier.storage.presence import PresenceStore
from services.notifier.workflows.activity import TellActivity
from services.notifier.workflows.presence import Presence
from services.notifier.workflows.streams import Streams
from services.notifier.workflows.tail import Tail
from services.notifier.workflows.write_feed import WriteFeed
from shared.contracts.errors import TransientError
from shared.contracts.records import InRecord
from shared.contracts.topics import DIRECTORY
from shared.kafka.publisher import Publisher
from shared.kafka.runtime import ConsumerRuntime
from shared.kafka.subscribe import create_broker
from shared.kafka.table import CompactedTable
from shared.observability.components import Components
from shared.observability.loop_lag import LoopLag
from shared.observability.metrics import Metrics
from shared.observability.probes import probe_routes
from shared.redis.client import RedisClient


class NotifierApp:
    """The service as an ASGI application; `asgi` is what the server runs."""

    def __init__(self, settings: NotifierSettings) -> None:
        self.metrics = Metrics()
        self.redis = RedisClient(settings, client_name="notifier")
        self.feed = FeedStore(
            self.redis,
            ring_events=settings.notifier_ring_events,
            ring_age=settings.notifier_ring_age,
        )
        sockets = PresenceStore(
            self.redis,
            heartbeat=settings.notifier_heartbeat,
            limit=settings.notifier_connections_per_agent,
        )
        self.directory = Directory()
        self.table = CompactedTable(
            settings,
            DIRECTORY,
            self.directory.apply,
            on_change=self._on_directory,
            metrics=self.metrics,
        )
        self.publisher = Publisher(settings, client_id="notifier", metrics=self.metrics)
        self.broker = create_broker(settings, client_id="notifier")
        self.consumers = ConsumerRuntime(settings, self.publisher, metrics=self.metrics)
        self.halted = self.consumers.halted
        declare_subscribers(self.broker, self.consumers, WriteFeed(self.feed, self.metrics))
        self.tail = Tail(self.redis, self.feed, poll=settings.notifier_poll, metrics=self.metrics)
        self.presence = Presence(
            sockets,
            self.publisher,
            heartbeat=settings.notifier_heartbeat,
            repeat=settings.notifier_presence_repeat,
        )
        self.streams = Streams(
            directory=self.directory,
            table=self.table,
            feed=self.feed,
            tail=self.tail,
            sockets=sockets,
            presence=self.presence,
            activity=TellActivity(self.feed),
            queue_limit=int(settings.notifier_queue_limit),
            ticket_session=settings.notifier_ticket_session,
            metrics=self.metrics,
        )
        self._websocket = WebSocketStream(
            self.streams,
            origins=settings.origins,
            hello_timeout=settings.notifier_hello_timeout,
            metrics=self.metrics,
        )
        self._sse = EventStream(self.streams, origins=settings.origins, metrics=self.metrics)
        self._components = Components(
            self.publisher,
            LoopLag(self.metrics),
            self.table,
            self.tail,
            self.presence,
            self.streams,
            self.consumers,
        )
        self._http = Starlette(
            routes=probe_routes(live=self.live, ready=self.ready, metrics=self.metrics),
            lifespan=self._lifespan,
        )
        self.asgi = self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Streams are served bare: a framework's layers cost memory on every idle socket."""
        match scope["type"], scope.get("path"):
            case "websocket", "/v1/stream":
                await self._websocket(scope, receive, send)
            case "http", "/v1/stream/sse":
                await self._sse(scope, receive, send)
            case _:
                await self._http(scope, receive, send)

    def _on_directory(self, records: Sequence[InRecord]) -> None:
        self.streams.directory_changed(records)

    def live(self) -> Sequence[str]:
        """Why the process should be restarted."""
        return self.consumers.live()

    def ready(self) -> Sequence[str]:
        """Why it should get no new connections."""
        return [
            *self.consumers.ready(),
            *([] if self.streams.directory_known else ["directory: not read to the end"]),
            *([] if self.tail.redis_reached else ["redis: away"]),
        ]

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        try:
            async with self._components:
                yield
        finally:
            with contextlib.suppress(TransientError):
                await self.redis.aclose()


def create_app(settings: NotifierSettings | None = None) -> NotifierApp:
    """The service with everything it needs; connects to nothing yet."""
    return NotifierApp(settings or NotifierSettings())
