"""Liveness by progress: the poll loop turns, and with lag the position moves."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

_SCAN_SECONDS = 1.0


class Progress:
    """What one consumer has done lately, judged from memory alone.

    An outage is not a stall: while Kafka cannot be reached, while the consumer still starts and
    while a batch waits for a dependency, the clock is set back. A consumer that is idle with lag
    is restarted in place after half the limit and reported after another one in vain.
    """

    def __init__(self, limit: timedelta, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit.total_seconds()
        self._clock = clock
        now = clock()
        self._starting = True
        self._tick = now
        self._moved = now
        self._scanned = now
        self._looked = now
        self._behind = False
        self._restarts = 0
        self._positions: dict[Any, int] = {}

    def polled(self) -> bool:
        """The poll loop turned; whether the positions should be scanned now (once a second)."""
        now = self._tick = self._clock()
        if now - self._scanned < _SCAN_SECONDS:
            return False
        self._scanned = now
        return True

    def scanned(self, positions: dict[Any, int]) -> None:
        """The positions as they are now."""
        if positions != self._positions:
            self._positions = positions
            self.moved()

    def moved(self) -> None:
        """Something was done, or there is nothing to do."""
        self._tick = self._moved = self._clock()
        self._behind = False
        self._restarts = 0

    def held(self) -> None:
        """Waiting for a dependency: alive, and not expected to move."""
        self._tick = self._moved = self._clock()

    def unreachable(self) -> None:
        """Kafka does not answer: not expected to move."""
        self._moved = self._looked = self._clock()
        self._behind = False

    def starting(self) -> None:
        """A start or restart begins; it takes as long as Kafka needs."""
        self._starting = True

    def started(self) -> None:
        """The loop runs from now on."""
        self._starting = False
        self._tick = self._moved = self._looked = self._clock()
        self._behind = False

    def restarting(self) -> None:
        """The consumer is rebuilt; counted until something moves again."""
        self._restarts += 1

    def wants_ends(self) -> bool:
        """Whether to ask Kafka for the end offsets: nothing has moved for a while."""
        pause = self._limit / 6
        now = self._clock()
        return now - self._moved > pause and now - self._looked > pause

    def looked(self, *, behind: bool) -> None:
        """What the end offsets said."""
        self._looked = self._clock()
        if behind:
            self._behind = True
        else:
            self.moved()

    def idle_with_lag(self) -> bool:
        """Whether the consumer should be restarted in place."""
        return self._behind and self._clock() - self._moved > self._limit / 2

    def stalled(self) -> str | None:
        """Why the process should be restarted, or None."""
        if self._restarts >= 2:
            return "idle with lag after restarts"
        if not self._starting and self._clock() - self._tick > self._limit:
            return "poll loop stands still"
        return None
