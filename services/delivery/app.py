"""Builds the service: the only place that knows all its parts."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta

import structlog
from starlette.applications import Starlette

from services.delivery.api import number_routes
from services.delivery.decisions.schedule import Caps, Schedule
from services.delivery.gateways.bots import BotHooks
from services.delivery.gateways.downloads import Downloads
from services.delivery.gateways.graph import Graph
from services.delivery.handlers import register
from services.delivery.model import CallKind
from services.delivery.settings import DeliverySettings
from services.delivery.storage import CallRecords, SendRecords, StoppedNumbers, Uploads
from services.delivery.workflows.accounts import Accounts, Every, Turn
from services.delivery.workflows.calling import Calls
from services.delivery.workflows.clock import Clock, Pause
from services.delivery.workflows.fetching import Fetcher
from services.delivery.workflows.intake import Intake
from services.delivery.workflows.notifying import Bots
from services.delivery.workflows.numbers import Numbers
from services.delivery.workflows.owning import OpenCalls, Ownership
from services.delivery.workflows.posting import Poster
from services.delivery.workflows.sending import Sender, SendLimits
from services.delivery.workflows.telling import RunPublisher, Teller
from services.delivery.workflows.uploading import Uploader
from shared.blobs.store import BlobStore
from shared.contracts.errors import TransientError
from shared.contracts.topics import CREDENTIALS, DIRECTORY, OUTBOUND
from shared.faults import FaultPoints, NoFaults
from shared.ids import IdHasher
from shared.kafka.publisher import Publisher
from shared.kafka.settings import KafkaSettings
from shared.kafka.subscribe import ConsumerRuntime
from shared.kafka.table import CompactedTable
from shared.mongo.client import Database, MongoSettings, create_client
from shared.mongo.parking import MongoParking
from shared.observability.components import Components
from shared.observability.loop_lag import LoopLag
from shared.observability.metrics import Metrics
from shared.observability.probes import probe_routes
from shared.sealing import Sealer

log = structlog.get_logger()

_RESTART_PAUSE = 1.0


class Engine:
    """Everything between the store, Graph and the events, without Kafka's consumers.

    Tests build it with a publisher, faults and a clock of their own.
    """

    def __init__(
        self,
        settings: DeliverySettings,
        database: Database,
        publisher: RunPublisher,
        *,
        partitions: int,
        clock: Clock | None = None,
        faults: FaultPoints | None = None,
        metrics: Metrics | None = None,
        new_token: Callable[[], str] = lambda: secrets.token_hex(12),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        clock = clock or Clock()
        faults = faults or NoFaults()
        metrics = metrics or Metrics()
        self.metrics = metrics
        total = settings.delivery_in_flight
        caps = Caps(total=total, tenant=max(1, total // 2), number=max(1, total // 8))
        self.sends = SendRecords(database)
        self.call_records = CallRecords(database)
        self.uploads = Uploads(database)
        self.parking = MongoParking(database)
        self.schedule = Schedule(full_rate=settings.delivery_rate, caps=caps)
        self.graph = Graph(
            settings.graph_url,
            version=settings.graph_version,
            connect=settings.graph_connect,
            total=settings.graph_total,
        )
        self.downloads = Downloads(
            settings.graph_url, hosts=settings.media_hosts, largest=settings.media_largest
        )
        self.files = BlobStore(settings.media_url, settings.media_folder)
        self.numbers = Numbers(
            sealer=Sealer(settings.master_key.get_secret_value()),
            schedule=self.schedule,
            stopped=StoppedNumbers(database),
            publisher=publisher,
            graph=self.graph,
            clock=clock,
            standard_rate=settings.delivery_rate,
            metrics=metrics,
        )
        self.ownership = Ownership(sends=self.sends, calls=self.call_records, partitions=partitions)
        self.teller = Teller(
            records=self.sends,
            publisher=publisher,
            owned=self.ownership.owned,
            clock=clock,
            faults=faults,
        )
        poster = Poster(
            graph=self.graph,
            numbers=self.numbers,
            uploader=Uploader(
                uploads=self.uploads,
                files=self.files,
                graph=self.graph,
                clock=clock,
                metrics=metrics,
            ),
            schedule=self.schedule,
            clock=clock,
            faults=faults,
            metrics=metrics,
            jitter=jitter,
        )
        self.sender = Sender(
            records=self.sends,
            schedule=self.schedule,
            poster=poster,
            teller=self.teller,
            limits=SendLimits(settings.delivery_deadline, settings.delivery_lease),
            clock=clock,
            faults=faults,
            metrics=metrics,
            owns=self.ownership.owns,
            new_token=new_token,
        )
        fetcher = Fetcher(
            graph=self.graph,
            downloads=self.downloads,
            files=self.files,
            hasher=IdHasher(settings.key_secret.get_secret_value()),
            metrics=metrics,
        )
        self.accounts = Accounts(
            graph=self.graph,
            numbers=self.numbers,
            publisher=publisher,
            clock=clock,
            metrics=metrics,
            turn=Turn(self.ownership.owned, partitions),
            every=Every(
                templates=settings.delivery_templates_every.total_seconds(),
                subscriptions=settings.delivery_subscriptions_every.total_seconds(),
            ),
        )
        self.calls = Calls(
            records=self.call_records,
            schedule=self.schedule,
            graph=self.graph,
            numbers=self.numbers,
            fetcher=fetcher,
            accounts=self.accounts,
            publisher=publisher,
            clock=clock,
            owns=self.ownership.owns,
            jitter=jitter,
        )
        self.hooks = BotHooks(private=settings.bot_private_addresses, total=settings.bot_timeout)
        self.bots = Bots(
            records=self.call_records,
            schedule=self.schedule,
            numbers=self.numbers,
            hooks=self.hooks,
            publisher=publisher,
            clock=clock,
            owns=self.ownership.owns,
            jitter=jitter,
            metrics=metrics,
        )
        self.intake = Intake(
            sends=self.sends,
            calls=self.call_records,
            ownership=self.ownership,
            clock=clock,
            faults=faults,
            metrics=metrics,
        )
        self.numbers.on_change = self.sender.wake
        self.ownership.on_records = self.sender.offer
        self.ownership.on_known = self.sender.look_at
        self.ownership.on_calls = self._offer
        self.ownership.on_lost = self.sender.drop
        self.ownership.on_share = lambda share: self.schedule.set_share(share, clock.monotonic())

    async def create_indexes(self) -> None:
        """Create what is missing. Raises TransientError."""
        await self.sends.create_indexes()
        await self.call_records.create_indexes()
        await self.uploads.create_indexes()
        await self.parking.ensure_indexes()

    def _offer(self, calls: OpenCalls) -> None:
        for_bots = [call for call in calls if call[0].kind is CallKind.BOT]
        self.bots.offer(for_bots)
        self.calls.offer([call for call in calls if call[0].kind is not CallKind.BOT])

    def reset(self) -> None:
        """Forget what is in memory and read it again: a loop failed."""
        self.sender.reset()
        self.calls.reset()
        self.bots.reset()
        self.ownership.reload()

    async def start(self) -> None:
        """Open the HTTP sessions."""
        await self.graph.start()
        await self.downloads.start()
        await self.hooks.start()

    async def aclose(self) -> None:
        await self.graph.aclose()
        await self.downloads.aclose()
        await self.hooks.aclose()


class Service:
    """What `create_app` returns: `asgi` serves HTTP, its lifespan runs everything else."""

    def __init__(self, settings: DeliverySettings, faults: FaultPoints | None = None) -> None:
        kafka, mongo = KafkaSettings(), MongoSettings()
        self.metrics = Metrics()
        # What was not surely written is read or written again: see docs/decisions/0005 and 0060.
        self._client = create_client(mongo, app_name="atrio-delivery", retry_writes=False)
        publisher = Publisher(kafka, client_id="atrio-delivery", metrics=self.metrics)
        self._engine = engine = Engine(
            settings,
            self._client[settings.delivery_db],
            publisher,
            partitions=kafka.kafka_partitions or OUTBOUND.partitions,
            faults=faults,
            metrics=self.metrics,
        )
        self._directory = CompactedTable(
            kafka, DIRECTORY, engine.numbers.apply_directory, metrics=self.metrics
        )
        self._credentials = CompactedTable(
            kafka, CREDENTIALS, engine.numbers.apply_credentials, metrics=self.metrics
        )
        self._publisher = publisher
        self._runtime = ConsumerRuntime(
            kafka, publisher, parking=engine.parking, metrics=self.metrics
        )
        self.broker = register(engine.intake, engine.ownership, self._runtime)
        self.halted = self._runtime.halted
        token = settings.internal_token
        self._components = Components(
            LoopLag(self.metrics),
            publisher,
            engine,
            self._directory,
            self._credentials,
            _Background("numbers", engine.numbers.run),
            _Background("levels", engine.numbers.follow_levels),
            _Background("load", self._load),
            _Background("accounts", self._when_complete(engine.accounts.run)),
            _Background("calls", self._when_complete(engine.calls.run), engine.reset),
            _Background("bots", self._when_complete(engine.bots.run), engine.reset),
            _Background("send", self._when_complete(engine.sender.run), engine.reset),
            _Drain(engine.sender, settings.delivery_stop_limit),
            self._runtime,
        )
        self.asgi = Starlette(
            routes=[
                *probe_routes(live=self.dead, ready=self.missing, metrics=self.metrics),
                *number_routes(engine.numbers, token.get_secret_value() if token else ""),
            ],
            lifespan=self._lifespan,
        )

    def dead(self) -> Sequence[str]:
        """What only a restart mends."""
        return self._runtime.live()

    def missing(self) -> Sequence[str]:
        """What keeps this pod from sending now."""
        reasons = {
            "directory_incomplete": not self._directory.caught_up,
            "credentials_incomplete": not self._credentials.caught_up,
            "partitions_not_loaded": not self._engine.ownership.settled,
            "publisher": not self._publisher.healthy,
        }
        return [*self._runtime.ready(), *(name for name, wrong in reasons.items() if wrong)]

    async def _load(self) -> None:
        pause = Pause()
        while True:
            try:
                await self._engine.create_indexes()
                break
            except TransientError as error:
                log.warning("indexes.waiting", error=str(error))
                await pause.wait()
        await self._engine.ownership.run()

    def _when_complete(self, run: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        # A suspended tenant or a stopped number must be known before the first POST.
        async def gated() -> None:
            complete = self._engine.numbers.complete
            if not complete.is_set():
                day = timedelta(days=1)
                await self._directory.wait_caught_up(day)
                await self._credentials.wait_caught_up(day)
                await self._engine.numbers.loaded.wait()
                complete.set()
            await run()

        return gated

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        async with self._components:
            yield
        await asyncio.to_thread(self._client.close)


class _Background:
    """A loop for the life of the service; one that fails is logged, mended and run again."""

    def __init__(
        self,
        name: str,
        run: Callable[[], Awaitable[None]],
        mend: Callable[[], None] | None = None,
    ) -> None:
        self._name = name
        self._run = run
        self._mend = mend
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._supervised(), name=self._name)

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _supervised(self) -> None:
        while True:
            try:
                await self._run()
            except Exception:
                log.exception("background.failed", task=self._name)
                await asyncio.sleep(_RESTART_PAUSE)
                if self._mend is not None:
                    self._mend()


class _Drain:
    """Stops the claims and waits for the answers before the loops end."""

    def __init__(self, sender: Sender, limit: timedelta) -> None:
        self._sender = sender
        self._limit = limit

    async def start(self) -> None:
        """Nothing to begin."""

    async def aclose(self) -> None:
        await self._sender.drain(self._limit)


def create_app(settings: DeliverySettings, *, faults: FaultPoints | None = None) -> Service:
    """Build the service; nothing connects before its lifespan begins. `faults` are for tests."""
    return Service(settings, faults)
