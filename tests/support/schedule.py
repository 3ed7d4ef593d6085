"""Fault points that a test drives: it stops an actor at a named place and lets it go on."""

import asyncio
from collections import defaultdict
from typing import Final

DEADLINE_SECONDS: Final = 15.0


class Hold:
    """One stop of an actor at a point."""

    def __init__(self, point: str) -> None:
        self.point = point
        self.arrived = asyncio.Event()
        self.released = asyncio.Event()

    async def reached(self) -> None:
        """Waits until the actor stands at the point."""
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await self.arrived.wait()
        except TimeoutError:
            raise AssertionError(f"nobody came to {self.point!r}") from None

    def release(self) -> None:
        self.released.set()


class Script:
    """`shared.faults.FaultPoints` of one pod."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self._holds: defaultdict[str, list[Hold]] = defaultdict(list)

    def hold(self, point: str) -> Hold:
        """Stops the next arrival at the point until it is released."""
        hold = Hold(point)
        self._holds[point].append(hold)
        return hold

    async def reach(self, point: str) -> None:
        self.passed.append(point)
        if self._holds[point]:
            hold = self._holds[point].pop(0)
            hold.arrived.set()
            await hold.released.wait()
