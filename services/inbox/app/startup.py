"""Prepares the parts until MongoDB is there, then runs their loops."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

import structlog

from services.inbox.app.foundation import Part
from shared.contracts.errors import TransientError

log = structlog.get_logger()


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
