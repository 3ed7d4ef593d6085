"""How late the event loop is: above 0.1 s heartbeats suffer and the consumer group rebalances."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

import structlog

from shared.observability.metrics import Metrics

log = structlog.get_logger()

_EVERY_SECONDS = 0.25
_KEEP = 40
_WARN_SECONDS = 0.5


class LoopLag:
    """Measures the loop four times a second; `worst` is the longest delay of the last 10 s."""

    def __init__(self, metrics: Metrics) -> None:
        self._gauge = metrics.loop_lag
        self._recent: deque[float] = deque(maxlen=_KEEP)
        self._task: asyncio.Task[None] | None = None

    @property
    def worst(self) -> float:
        """Seconds."""
        return max(self._recent, default=0.0)

    async def start(self) -> None:
        """Begin to measure."""
        self._task = asyncio.create_task(self._measure(), name="loop lag")

    async def aclose(self) -> None:
        """Stop measuring."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _measure(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _EVERY_SECONDS
            await asyncio.sleep(_EVERY_SECONDS)
            late = max(0.0, loop.time() - due)
            self._recent.append(late)
            self._gauge.set(self.worst)
            if late > _WARN_SECONDS:
                log.warning("loop.blocked", seconds=round(late, 3))
