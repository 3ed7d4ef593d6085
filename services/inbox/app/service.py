"""Builds the service: the only place that knows all its parts."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

from fastapi import FastAPI
from faststream.kafka import KafkaBroker

from services.inbox.api.rates import RateLimits
from services.inbox.api.security import Guard
from services.inbox.api.server import HttpOptions, create_api
from services.inbox.app.conversations import build_conversations
from services.inbox.app.desk import build_desk
from services.inbox.app.foundation import Closing, Flushing, Foundation
from services.inbox.app.media import UPLOAD_LIMIT, build_media
from services.inbox.app.people import build_people
from services.inbox.app.startup import Startup
from services.inbox.decisions.rates import Rate
from services.inbox.settings import InboxSettings
from shared.faults import FaultPoints
from shared.observability.components import Components
from shared.observability.loop_lag import LoopLag
from shared.observability.probes import probe_routes


class Service:
    """What `create_app` returns: `asgi` is served; `halted` is set when it must be restarted."""

    broker: KafkaBroker

    def __init__(self, settings: InboxSettings, faults: FaultPoints | None = None) -> None:
        self._base = base = Foundation(settings, faults)
        conversations, chats = build_conversations(base)
        self._runtime = conversations.runtime
        self.halted = self._runtime.halted
        self.broker = conversations.broker
        library, files = build_media(base, conversations)
        desk, calls = build_desk(base, conversations, library)
        people = build_people(base, desk.releasing)
        parts = [people.part, chats, calls, files]
        self._startup = Startup(parts, self.halted)
        self._components = Components(
            Closing(base.client.close),
            LoopLag(base.metrics),
            base.publisher,
            base.table,
            Flushing(base.directory),
            *(component for part in parts for component in part.components),
            self._startup,
        )
        self._table_read = False
        self.asgi = create_api(
            [router for part in parts for router in part.routers],
            guard=Guard(
                people.people,
                people.api_keys,
                platform_token=settings.platform_token,
                internal_token=settings.internal_token,
                rates=RateLimits(
                    principal=_rate(settings.calls_per_second),
                    tenant=_rate(settings.calls_per_second_of_tenant),
                ),
            ),
            probes=probe_routes(live=self.dead, ready=self.missing, metrics=base.metrics),
            options=HttpOptions(
                settings.allowed_origins,
                int(settings.inbox_body_limit),
                {"/v1/media": UPLOAD_LIMIT},
            ),
            metrics=base.metrics,
            lifespan=self._lifespan,
        )

    def missing(self) -> Sequence[str]:
        """Why it is not ready."""
        reasons = []
        if not self._startup.done:
            reasons.append("mongodb_not_prepared")
        # Once read, a later outage of Kafka does not count: writes go to the outboxes.
        self._table_read = self._table_read or self._base.table.caught_up
        if not self._table_read:
            reasons.append("directory_incomplete")
        return reasons

    def dead(self) -> Sequence[str]:
        """What only a restart mends."""
        stopped = ["background_stopped"] if self.halted.is_set() else []
        return [*stopped, *self._runtime.live()]

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        async with self._components:
            yield


def _rate(per_second: int) -> Rate | None:
    """A screen that opens asks for much at once: ten seconds' worth of calls is a burst."""
    return Rate(per_second, per_second * 10) if per_second else None


def create_app(settings: InboxSettings, *, faults: FaultPoints | None = None) -> Service:
    """Build the service; nothing connects before its lifespan begins."""
    return Service(settings, faults)
