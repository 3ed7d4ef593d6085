"""What every part of the service is built on, and what a part is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter

from services.inbox.settings import InboxSettings
from services.inbox.storage.claims import Claims
from services.inbox.storage.directory import DirectoryStore
from services.inbox.storage.directory_view import DirectoryView
from shared.contracts.topics import DIRECTORY
from shared.faults import FaultPoints, NoFaults
from shared.ids import IdHasher
from shared.kafka.publisher import Publisher
from shared.kafka.table import CompactedTable
from shared.mongo.client import Database, create_client
from shared.observability.components import Component
from shared.observability.metrics import Metrics
from shared.sealing import Sealer


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
        # What was not surely written is looked at again anyway, and MongoDB's note of each
        # compare-and-set would cost it a sixth of the write.
        self.client = create_client(settings, app_name="atrio-inbox", retry_writes=False)
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


class Closing:
    """A component that only ends."""

    def __init__(self, close: Callable[[], object]) -> None:
        self._close = close

    async def start(self) -> None:
        """Nothing to begin."""

    async def aclose(self) -> None:
        self._close()


class Stopping:
    """A component that is begun elsewhere and ended here."""

    def __init__(self, stop: Callable[[], Awaitable[None]]) -> None:
        self._stop = stop

    async def start(self) -> None:
        """Begun by `Startup`."""

    async def aclose(self) -> None:
        await self._stop()


class Flushing:
    """Waits for what the directory's log is publishing when the service ends."""

    def __init__(self, directory: DirectoryStore) -> None:
        self._directory = directory

    async def start(self) -> None:
        """Its loops are begun by `Startup`."""

    async def aclose(self) -> None:
        await self._directory.log.aclose()
