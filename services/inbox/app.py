"""Builds the service: the only place that knows all its parts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from fastapi import APIRouter, FastAPI
from faststream.kafka import KafkaBroker

from services.inbox.api import admin, auth, me, numbers, platform, stream
from services.inbox.api.security import Guard
from services.inbox.api.server import HttpOptions, create_api
from services.inbox.assembly import Conversations
from services.inbox.desk import Desk
from services.inbox.settings import InboxSettings
from services.inbox.storage.claims import Claims
from services.inbox.storage.directory import DirectoryStore
from services.inbox.storage.directory_view import DirectoryView
from services.inbox.storage.keys import SigningKeys
from services.inbox.storage.passwords import Passwords
from services.inbox.workflows.agents import Agents
from services.inbox.workflows.directory import Directory
from services.inbox.workflows.follow_ups import FollowUps
from services.inbox.workflows.hooks import ConversationHooks
from services.inbox.workflows.keyset import publish_keyset
from services.inbox.workflows.numbers import Numbers
from services.inbox.workflows.people import People
from services.inbox.workflows.requests import Creations
from services.inbox.workflows.tenants import Tenants
from shared.contracts.errors import TransientError
from shared.contracts.topics import DIRECTORY
from shared.faults import FaultPoints, NoFaults
from shared.ids import IdHasher
from shared.kafka.publisher import Publisher
from shared.kafka.table import CompactedTable
from shared.mongo.client import Database, create_client
from shared.observability.components import Component, Components
from shared.observability.loop_lag import LoopLag
from shared.observability.metrics import Metrics
from shared.observability.probes import probe_routes
from shared.sealing import Sealer

log = structlog.get_logger()


def now() -> datetime:
    """Aware UTC in whole milliseconds, which is what MongoDB and the wire keep."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


class Foundation:
    """What every part is built on: clients, ids, the clock. Nothing connects here."""

    def __init__(self, settings: InboxSettings, faults: FaultPoints | None) -> None:
        self.settings = settings
        self.faults = faults or NoFaults()
        self.metrics = Metrics()
        self.client = create_client(settings, app_name="atrio-inbox")
        self.database: Database = self.client[settings.inbox_db]
        self.publisher = Publisher(settings, client_id="atrio-inbox", metrics=self.metrics)
        self.ids = IdHasher(settings.key_secret.get_secret_value())
        self.sealer = Sealer(settings.master_key.get_secret_value())
        self.view = DirectoryView()
        self.table = CompactedTable(settings, DIRECTORY, self.view.apply, metrics=self.metrics)
        self.directory = DirectoryStore(
            self.database, self.publisher, self.view, faults=self.faults, clock=now
        )
        self.claims = Claims(self.database, self.ids)


@dataclass(frozen=True, slots=True)
class Part:
    """What a part of the service adds to it."""

    routers: Sequence[APIRouter] = ()
    prepare: Sequence[Callable[[], Awaitable[None]]] = ()
    """Run once, after MongoDB is there: indexes. Idempotent; retried until they succeed."""
    run: Sequence[Callable[[], Awaitable[None]]] = ()
    """Background loops, begun when everything is prepared."""
    components: Sequence[Component] = ()


@dataclass(frozen=True, slots=True)
class PeoplePart:
    """The people part, and what the HTTP application needs of it."""

    part: Part
    people: People
    keys: SigningKeys


def build_people(base: Foundation, hooks: ConversationHooks) -> PeoplePart:
    """People, access and the directory."""
    settings = base.settings
    passwords = Passwords()
    keys = SigningKeys(base.database, base.sealer, issuer=settings.token_issuer, clock=now)
    creations = Creations(base.ids, now)
    follow_ups = FollowUps(base.directory, hooks, topic_read=lambda: base.table.caught_up)
    people = People(
        base.directory,
        base.claims,
        keys,
        passwords,
        token_life=settings.token_life,
        ticket_life=settings.ticket_life,
        clock=now,
    )
    entities = Directory(base.directory, creations)
    agents = Agents(base.directory, base.claims, passwords, creations, now)
    tenants = Tenants(
        base.directory, base.claims, passwords, creations, follow_ups=follow_ups, ids=base.ids
    )
    own_numbers = Numbers(
        base.directory, base.claims, base.sealer, creations, follow_ups=follow_ups, hooks=hooks
    )

    async def prepare() -> None:
        await base.directory.ensure_indexes()
        await keys.ensure()
        await publish_keyset(base.directory, keys, now)

    part = Part(
        routers=(
            auth.router(people, keys),
            me.router(people, base.directory),
            stream.router(people),
            admin.agents_router(agents, base.directory, follow_ups),
            admin.teams_router(entities, base.directory, follow_ups),
            admin.labels_router(entities, base.directory, follow_ups),
            admin.policy_router(entities),
            numbers.router(own_numbers, base.directory),
            platform.router(tenants, base.directory),
        ),
        prepare=(prepare,),
        run=(base.directory.log.run, follow_ups.run),
        components=(_Closing(passwords.close),),
    )
    return PeoplePart(part, people, keys)


def build_conversations(base: Foundation) -> tuple[Conversations, Part]:
    """Conversations, and the consumers that change them."""
    conversations = Conversations(
        base.settings,
        base.database,
        base.publisher,
        view=base.view,
        ids=base.ids,
        metrics=base.metrics,
        faults=base.faults,
        clock=now,
    )

    async def consume() -> None:
        # Names, teams and bots come from the directory: nothing is folded without it.
        await base.table.wait_caught_up(timedelta(days=365))
        await conversations.runtime.start()

    part = Part(
        prepare=(conversations.prepare,),
        run=(conversations.log.run, conversations.contacts.run, consume),
        components=(_Stopping(conversations.aclose), _Stopping(conversations.runtime.aclose)),
    )
    return conversations, part


def build_desk(base: Foundation, conversations: Conversations) -> tuple[Desk, Part]:
    """What people do with conversations."""
    desk = Desk(
        base.database,
        base.directory,
        conversations=conversations.log,
        contacts=conversations.contacts,
        ids=base.ids,
        clock=now,
    )
    return desk, Part(routers=desk.routers, prepare=(desk.store.ensure_indexes,))


class Service:
    """What `create_app` returns: `asgi` is served; `halted` is set when it must be restarted."""

    broker: KafkaBroker

    def __init__(self, settings: InboxSettings, faults: FaultPoints | None = None) -> None:
        self._base = base = Foundation(settings, faults)
        conversations, chats = build_conversations(base)
        self._runtime = conversations.runtime
        self.halted = self._runtime.halted
        self.broker = conversations.broker
        desk, calls = build_desk(base, conversations)
        people = build_people(base, desk.releasing)
        parts = [people.part, chats, calls]
        self._startup = Startup(parts, self.halted)
        self._components = Components(
            _Closing(base.client.close),
            LoopLag(base.metrics),
            base.publisher,
            base.table,
            _Flushing(base.directory),
            *(component for part in parts for component in part.components),
            self._startup,
        )
        self._table_read = False
        self.asgi = create_api(
            [router for part in parts for router in part.routers],
            guard=Guard(
                people.people,
                platform_token=settings.platform_token,
                internal_token=settings.internal_token,
            ),
            probes=probe_routes(live=self.dead, ready=self.missing, metrics=base.metrics),
            options=HttpOptions(settings.allowed_origins, int(settings.inbox_body_limit)),
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


class Startup:
    """Prepares the parts, again and again until MongoDB is there, then runs their loops.

    A loop that ends by an error that is not transient is a bug: the process must be restarted.
    """

    def __init__(self, parts: Sequence[Part], halted: asyncio.Event) -> None:
        self._parts = parts
        self._halted = halted
        self._task: asyncio.Task[None] | None = None
        self.done = False

    async def start(self) -> None:
        """Begin; returns at once."""
        self._task = asyncio.create_task(self._guarded(), name="startup")

    async def aclose(self) -> None:
        """End the loops."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _guarded(self) -> None:
        try:
            await self._prepare()
            async with asyncio.TaskGroup() as group:
                for part in self._parts:
                    for run in part.run:
                        group.create_task(_awaited(run))
        except Exception:
            log.exception("background.failed")
            self._halted.set()

    async def _prepare(self) -> None:
        steps = [step for part in self._parts for step in part.prepare]
        delay = 0.2
        while steps:
            try:
                await steps[0]()
            except TransientError as error:
                log.warning("startup.postponed", error=str(error), retry=delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 2.0)
            else:
                del steps[0]
        self.done = True
        log.info("startup.prepared")


async def _awaited(run: Callable[[], Awaitable[None]]) -> None:
    await run()


class _Closing:
    """A component that only ends."""

    def __init__(self, close: Callable[[], object]) -> None:
        self._close = close

    async def start(self) -> None:
        """Nothing to begin."""

    async def aclose(self) -> None:
        self._close()


class _Stopping:
    """A component that is begun elsewhere and ended here."""

    def __init__(self, stop: Callable[[], Awaitable[None]]) -> None:
        self._stop = stop

    async def start(self) -> None:
        """Begun by `Startup`."""

    async def aclose(self) -> None:
        await self._stop()


class _Flushing:
    """Waits for what the directory's log is publishing when the service ends."""

    def __init__(self, directory: DirectoryStore) -> None:
        self._directory = directory

    async def start(self) -> None:
        """Its loops are begun by `Startup`."""

    async def aclose(self) -> None:
        await self._directory.log.aclose()


def create_app(settings: InboxSettings, *, faults: FaultPoints | None = None) -> Service:
    """Build the service; nothing connects before its lifespan begins."""
    return Service(settings, faults)
