"""Replays parked keys when operators ask for it, in the process that owns their partitions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection

import structlog

from shared.contracts.errors import TransientError
from shared.kafka.parking import Handler, ParkingLot, ReleaseRequest, release
from shared.observability.metrics import Metrics

log = structlog.get_logger()

_LOOK_EVERY_SECONDS = 2.0


class Releaser:
    """Follows the requests of one lot.

    Only the owner of a partition replays: it may keep state about the keys of that partition,
    and a replay beside another's would mix the order. A key without a record is anybody's to
    answer. What is replayed twice around a rebalance was handled twice, as any record may be.
    """

    def __init__(
        self,
        parking: ParkingLot,
        lot: str,
        handler: Handler,
        *,
        owned: Callable[[], Collection[int]],
        topic: str,
        metrics: Metrics,
    ) -> None:
        self._parking = parking
        self._lot = lot
        self._handler = handler
        self._owned = owned
        self._topic = topic
        self._metrics = metrics

    async def run(self) -> None:
        """Look and replay until cancelled; a store that is away is waited for."""
        while True:
            with contextlib.suppress(TransientError):
                await self.turn()
            await asyncio.sleep(_LOOK_EVERY_SECONDS)

    async def turn(self) -> None:
        """Answer what is asked. Raises TransientError: what is not answered is asked again."""
        owned = self._owned()
        if not owned:
            return
        for request in await self._parking.asked(self._lot):
            first = await self._parking.oldest(self._lot, request.key, 1)
            if not first or first[0].partition in owned:
                await self._answer(request)

    async def _answer(self, request: ReleaseRequest) -> None:
        released = await release(self._parking, self._lot, request.key, self._handler)
        await self._parking.answer(request, released)
        outcome = "stopped" if released.stopped else "done"
        self._metrics.releases.labels(self._topic, outcome).inc()
        log.info(
            "replay.released",
            lot=self._lot,
            who=request.by,
            request=request.id,
            replayed=released.replayed,
            stopped=released.stopped,
        )
