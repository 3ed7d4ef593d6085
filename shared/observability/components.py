"""Start in order, stop in reverse, each within a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol, Self

import structlog

log = structlog.get_logger()

_STOP_EACH = timedelta(seconds=20)


class Component(Protocol):
    """Something with a life: a client, a consumer, a background task."""

    async def start(self) -> None:
        """Begin; raises when the process cannot run without it."""
        ...

    async def aclose(self) -> None:
        """End; safe after a failed or missing start."""
        ...


class Components:
    """An async context manager over components: `async with Components(publisher, consumers):`.

    When one fails to start, those already started are stopped and the error is raised. A stop
    that fails or exceeds its deadline is logged and does not keep the others from stopping.
    """

    def __init__(self, *components: Component, stop_each: timedelta = _STOP_EACH) -> None:
        self._components: Sequence[Component] = components
        self._stop_each = stop_each.total_seconds()
        self._started: list[Component] = []

    async def __aenter__(self) -> Self:
        try:
            for component in self._components:
                self._started.append(component)
                await component.start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    async def _stop(self) -> None:
        while self._started:
            component = self._started.pop()
            kind = type(component).__name__
            try:
                async with asyncio.timeout(self._stop_each):
                    await component.aclose()
            except TimeoutError:
                log.warning("component.stop_timed_out", component=kind)
            except Exception:
                log.exception("component.stop_failed", component=kind)
