"""Work that runs as tasks of its own, a few at a time for each number."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")
_PER_NUMBER = 16
_TOTAL = 128


class Runs(Generic[_T]):
    """Items wait here until their number has room: a slow number does not hold up the others."""

    def __init__(self, work: Callable[[_T], Awaitable[None]]) -> None:
        self._work = work
        self._queue: deque[tuple[str, _T]] = deque()
        self._running: Counter[str] = Counter()
        self._woken = asyncio.Event()

    def put(self, number: str, item: _T, wait: float = 0.0) -> None:
        """Have the item worked on, after `wait` seconds at the earliest."""
        if wait > 0:
            asyncio.get_running_loop().call_later(wait, self.put, number, item)
            return
        self._queue.append((number, item))
        self._woken.set()

    def clear(self) -> None:
        """Forget what waits, after `run` failed."""
        self._queue.clear()
        self._running.clear()

    async def run(self) -> None:
        """The loop; it ends when a task fails."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                for _ in range(len(self._queue)):
                    number, item = self._queue.popleft()
                    if self._running.total() >= _TOTAL or self._running[number] >= _PER_NUMBER:
                        self._queue.append((number, item))
                        continue
                    self._running[number] += 1
                    tasks.create_task(self._run_one(number, item))
                self._woken.clear()
                await self._woken.wait()

    async def _run_one(self, number: str, item: _T) -> None:
        try:
            await self._work(item)
        finally:
            self._running[number] -= 1
            self._woken.set()
