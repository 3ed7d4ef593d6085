"""Time, and batches that form by themselves."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

_T = TypeVar("_T")
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0


class Clock:
    """The system's clocks; tests have another."""

    def now(self) -> datetime:
        """The wall clock, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that only rise: deadlines, limits and delays are judged by it."""
        return time.monotonic()

    def due(self, at: datetime | None) -> float:
        """A wall-clock time on the monotonic clock."""
        if at is None:
            return 0.0
        return self.monotonic() + (at - self.now()).total_seconds()

    def after(self, delay: timedelta) -> datetime:
        return self.now() + delay


class Batches(Generic[_T]):
    """What is put while the consumer works is its next batch: no timer, no waiting for more."""

    def __init__(self) -> None:
        self._items: list[_T] = []
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: _T) -> None:
        self._items.append(item)
        self._filled.set()

    async def take(self, limit: int) -> list[_T]:
        """At least one item, at most `limit`, oldest first."""
        while not self._items:
            self._filled.clear()
            await self._filled.wait()
        batch = self._items[:limit]
        del self._items[:limit]
        return batch


class Pause:
    """Backoff while a dependency is away."""

    def __init__(self) -> None:
        self._seconds = _FIRST_PAUSE

    def reset(self) -> None:
        self._seconds = _FIRST_PAUSE

    async def wait(self) -> None:
        await asyncio.sleep(self._seconds)
        self._seconds = min(self._seconds * 2, _LONGEST_PAUSE)
