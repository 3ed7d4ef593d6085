"""Rebuild the projections from inbox's list: at the first start, after a loss, and as a check."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

import structlog

from services.routing.gateways import InboxClient
from services.routing.model import Change
from services.routing.storage.directory import Directory
from services.routing.storage.installation import InstallationStore
from services.routing.storage.tenant import TenantStore
from shared.contracts.errors import TransientError
from shared.ids import new_id
from shared.observability.metrics import Metrics
from shared.redis.client import RedisClient

log = structlog.get_logger()

_LOCKED = timedelta(minutes=1)
_PAUSE = 0.5


class Rebuilder:
    """Runs in the background of every pod; one of them works, the others wait for its marker.

    `built` as of the last look: the marker is there and names this Redis server. A flushed Redis
    has no marker, a restarted or promoted one another name (its last writes may be gone).
    """

    def __init__(
        self,
        *,
        redis: RedisClient,
        inbox: InboxClient,
        directory: Directory,
        directory_complete: Callable[[], bool],
        installation: InstallationStore,
        stores: Callable[[str], TenantStore],
        wake: Callable[[Iterable[str]], None],
        check_every: timedelta,
        metrics: Metrics,
    ) -> None:
        self._redis = redis
        self._inbox = inbox
        self._directory = directory
        self._directory_complete = directory_complete
        self._installation = installation
        self._stores = stores
        self._wake = wake
        self._check_every = check_every
        self._metrics = metrics
        self._asked: set[str] = set()
        self._bell = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.built = False

    def is_built(self, marker: str | None, server: str) -> bool:
        """Whether the projections are whole; if not, a rebuild begins."""
        self.built = marker is not None and marker == server
        if not self.built:
            self._bell.set()
        return self.built

    def ask(self, tenant: str) -> None:
        """This tenant has never been built, or Redis lost it."""
        self._asked.add(tenant)
        self._bell.set()

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="rebuilder")

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._inbox.aclose()

    def live(self) -> Sequence[str]:
        """Why the process should be restarted: the loop ended by a bug."""
        return ["rebuilder"] if self._task is not None and self._task.done() else ()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(60.0, self._check_every.total_seconds())):
                    await self._bell.wait()
            self._bell.clear()
            try:
                await self._work()
            except TransientError as error:
                log.warning("rebuild.paused", error=type(error).__name__, detail=str(error))
                await asyncio.sleep(_PAUSE)
                self._bell.set()

    async def _work(self) -> None:
        if not self._directory_complete():
            await asyncio.sleep(_PAUSE)
            self._bell.set()
            return
        marker = await self._installation.marker()
        if marker is None or marker != self._redis.identity:
            if not await self._rebuild_all("lost" if marker is None else "server"):
                await asyncio.sleep(_PAUSE)
                self._bell.set()
            return
        self.built = True
        asked, self._asked = self._asked, set()
        for tenant in sorted(asked):
            try:
                await self.rebuild((tenant,), stop=True, tenant=tenant)
            except TransientError:
                self._asked.add(tenant)
                raise
            self._metrics.rebuilds.labels("tenant").inc()
        if await self._installation.take_check(self._check_every):
            await self.rebuild(self._directory.tenants(), stop=False)
            self._metrics.rebuilds.labels("check").inc()

    async def _rebuild_all(self, reason: str) -> bool:
        """Whether it is done; not when another pod is at it, or Redis was lost meanwhile."""
        self.built = False
        token, server = new_id(), self._redis.identity
        if not await self._installation.lock_rebuild(token, _LOCKED):
            return False
        try:
            whole = await self.rebuild(self._directory.tenants(), stop=True, token=token)
            if whole and server == self._redis.identity:
                await self._installation.mark(server)
                await self._installation.take_check(self._check_every)
                self.built = True
                self._metrics.rebuilds.labels(reason).inc()
        finally:
            await self._installation.unlock_rebuild(token)
        self._wake(self._directory.tenants())
        return self.built

    async def rebuild(
        self,
        tenants: Iterable[str],
        *,
        stop: bool,
        tenant: str | None = None,
        token: str | None = None,
    ) -> bool:
        """Bring these tenants' projections to inbox's state; newer events win by version.

        With `stop` nothing is routed for them until it is done. `tenant` asks inbox for one only;
        `token` is the one that holds the rebuild's lock, which is then held for longer.
        Returns whether all were finished: Redis may have lost the start of some.
        """
        token = token or new_id()
        generations = {
            name: await self._stores(name).begin_rebuild(token, stop=stop) for name in tenants
        }
        listed = 0
        async for page in self._inbox.conversations(tenant):
            grouped: dict[str, list[Change]] = defaultdict(list)
            for change in page:
                grouped[change.tenant].append(change)
            for name, changes in grouped.items():
                await self._stores(name).apply(changes)
            await self._installation.enlist(grouped, new_id())
            await self._installation.keep_rebuild(token, _LOCKED)
            listed += len(page)
        lost, swept = 0, 0
        for name, generation in generations.items():
            closed = await self._stores(name).finish_rebuild(token, generation)
            lost, swept = lost + (closed is None), swept + (closed or 0)
        log.info(
            "routing.rebuilt",
            tenants=len(generations),
            conversations=listed,
            closed=swept,
            unfinished=lost,
            stopped=stop,
        )
        return lost == 0
