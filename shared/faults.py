"""Named places where a test stops or crashes the real code; none of it in production."""

from __future__ import annotations

from typing import Protocol


class FaultPoints(Protocol):
    """Told of each place as it is passed; may raise or wait."""

    async def reach(self, point: str) -> None: ...


class NoFaults:
    """The production implementation."""

    async def reach(self, point: str) -> None:
        """Goes on."""
