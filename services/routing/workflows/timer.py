"""The loop of a pod: who was woken at once, and every second whoever waits anywhere."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import structlog

from services.routing.model import Roster, Snapshot
from services.routing.storage.directory import Directory
from services.routing.storage.installation import InstallationStore
from services.routing.storage.tenant import TenantStore, read_snapshot
from services.routing.workflows.rebuild import Rebuilder
from services.routing.workflows.route import RouteTenant
from shared.contracts.errors import TransientError
from shared.observability.metrics import Metrics
from shared.redis.client import RedisAwayError, RedisClient

log = structlog.get_logger()

SNAPSHOTS_PER_TRIP = 50


class Router:
    """Wakes `RouteTenant` and, after a loss of Redis, the `Rebuilder`.

    Any number of pods may run it: a timer's turn at a tenant is one pod's, and a decision made
    twice is one reservation. What a failure leaves undone is the next turn's.
    """

    def __init__(
        self,
        *,
        redis: RedisClient,
        directory: Directory,
        installation: InstallationStore,
        stores: Callable[[str], TenantStore],
        route: RouteTenant,
        rebuilder: Rebuilder,
        every: timedelta,
        clock: Callable[[], datetime],
        metrics: Metrics,
    ) -> None:
        self._redis = redis
        self._directory = directory
        self._installation = installation
        self._stores = stores
        self._route = route
        self._rebuilder = rebuilder
        self._every = every
        self._clock = clock
        self._metrics = metrics
        self._woken: set[str] = set()
        self._bell = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.redis_answers = False

    def wake(self, tenants: Iterable[str]) -> None:
        """Look at these tenants now, not at the next turn."""
        self._woken.update(tenants)
        if self._woken:
            self._bell.set()

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="router")

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def live(self) -> Sequence[str]:
        """Why the process should be restarted: the loop ended by a bug."""
        return ["router"] if self._task is not None and self._task.done() else ()

    async def _run(self) -> None:
        turn_at = time.monotonic()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, turn_at - time.monotonic())):
                    await self._bell.wait()
            self._bell.clear()
            woken, self._woken = self._woken, set()
            try:
                if time.monotonic() >= turn_at:
                    turn_at = time.monotonic() + self._every.total_seconds()
                    await self.take_turn()
                if woken and self._rebuilder.built:
                    await self._look_at(woken)
            except TransientError as error:
                self.redis_answers = not isinstance(error, RedisAwayError)
                log.warning("router.paused", error=type(error).__name__)
                self._woken |= woken
                await asyncio.sleep(self._every.total_seconds())

    async def take_turn(self) -> None:
        """One turn of the timer."""
        marker = await self._installation.marker()
        self.redis_answers = True
        if not self._rebuilder.is_built(marker, self._redis.identity):
            return
        enlisted = await self._installation.enlisted()
        waiting = await self._look_at(enlisted, turn=self._every * 0.8)
        for tenant in enlisted.keys() - waiting:
            await self._installation.leave(tenant, enlisted[tenant])

    async def _look_at(
        self, tenants: Collection[str], turn: timedelta = timedelta(0)
    ) -> Collection[str]:
        """Route these tenants; returns those that need another look."""
        keep: set[str] = set()
        rosters: dict[str, Roster] = {}
        for tenant in tenants:
            roster = self._directory.roster(tenant)
            if roster is None:
                keep.add(tenant)
            else:
                rosters[tenant] = roster
        names = list(rosters)
        waiting = 0
        for start in range(0, len(names), SNAPSHOTS_PER_TRIP):
            part = {name: rosters[name] for name in names[start : start + SNAPSHOTS_PER_TRIP]}
            for tenant, snapshot in (await self._snapshots(part, turn)).items():
                if snapshot is None:
                    keep.add(tenant)
                    continue
                if not snapshot.built:
                    self._rebuilder.ask(tenant)
                    keep.add(tenant)
                    continue
                waiting += sum(queue.waiting for queue in snapshot.queues)
                if snapshot.queues or snapshot.held_unrecorded or snapshot.reserved:
                    keep.add(tenant)
                    if await self._route(tenant, rosters[tenant], snapshot):
                        self.wake((tenant,))
        if turn:
            self._metrics.waiting.set(waiting)
        return keep

    async def _snapshots(
        self, rosters: Mapping[str, Roster], turn: timedelta
    ) -> dict[str, Snapshot | None]:
        now = self._clock()
        # By hand nobody is weighed, so nobody is asked for.
        agents = {
            tenant: () if roster.policy.strategy == "manual" else tuple(roster.agents)
            for tenant, roster in rosters.items()
        }
        calls = [
            self._stores(tenant).snapshot_call(agents[tenant], now, turn) for tenant in rosters
        ]
        answers = await self._redis.run_all(calls)
        return {
            tenant: read_snapshot(agents[tenant], answer, now)
            for tenant, answer in zip(rosters, answers, strict=True)
        }
