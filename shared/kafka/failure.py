"""What a consumer does with what it cannot handle: limits, reasons, the copies it leaves behind."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from shared.contracts.errors import PermanentError
from shared.contracts.records import InRecord

BEHIND: Final = "behind_parked"
"""The reason of a record that is fine itself but waits behind a parked one of its key."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that the handler could not handle; the others of the batch are done.

    `reason` is a stable code without personal data. A handler that keeps a key's order also
    returns the later records of that key, with the reason `BEHIND`: parked, not dead-lettered.
    """

    record: InRecord
    reason: str
    stage: str = "handle"
    detail: str = ""
    kind: str = "permanent"


def rejected_by(record: InRecord, error: Exception) -> Rejected:
    """The rejection that an exception of the handler means."""
    if isinstance(error, PermanentError):
        return Rejected(record, error.reason, stage=type(error).__name__, detail=error.detail)
    return Rejected(record, type(error).__name__, kind="bug")


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """When a consumer stops instead of sending everything to the dead letters.

    It stops after `max_consecutive` rejected records in a row, or when more than `max_dead_ratio`
    of the last `window` records were rejected (judged once the window is full).
    The rule of sentry-arroyo's `DlqLimit`.
    """

    max_dead_ratio: float = 0.1
    window: int = 1000
    max_consecutive: int = 50


class FailureTally:
    """The policy's memory for one subscription."""

    def __init__(self, policy: FailurePolicy) -> None:
        self._policy = policy
        self._window: deque[tuple[int, bool]] = deque()
        self._total = 0
        self._dead = 0
        self._consecutive = 0

    def handled(self, count: int) -> None:
        """Records that went well."""
        if count:
            self._consecutive = 0
            self._add(count, dead=False)

    def rejected(self) -> str | None:
        """One record more that was rejected; the reason to stop, if there is one now."""
        self._consecutive += 1
        self._add(1, dead=True)
        if self._consecutive > self._policy.max_consecutive:
            return "too_many_consecutive"
        full = self._total >= self._policy.window
        if full and self._dead > self._policy.max_dead_ratio * self._total:
            return "dead_ratio_exceeded"
        return None

    def _add(self, count: int, *, dead: bool) -> None:
        self._window.append((count, dead))
        self._total += count
        if dead:
            self._dead += count
        while self._total - self._window[0][0] >= self._policy.window:
            gone, was_dead = self._window.popleft()
            self._total -= gone
            if was_dead:
                self._dead -= gone
