"""The send state machine, as a table; `storage` builds its compare-and-sets from it."""

from __future__ import annotations

from functools import cache

from services.delivery.model import SendStatus, Trigger

_S = SendStatus
_T = Trigger

TRANSITIONS: dict[tuple[SendStatus, Trigger], SendStatus] = {
    (_S.QUEUED, _T.CLAIM): _S.STARTED,
    (_S.RETRY, _T.CLAIM): _S.STARTED,
    (_S.STARTED, _T.RELEASE): _S.RETRY,
    (_S.STARTED, _T.LATER): _S.RETRY,
    (_S.STARTED, _T.ACCEPT): _S.ACCEPTED,
    (_S.STARTED, _T.REFUSE): _S.FAILED,
    (_S.STARTED, _T.DOUBT): _S.UNKNOWN,
    (_S.STARTED, _T.LEASE_OVER): _S.UNKNOWN,
    # A late 200: the claim was given up by others, and Meta had accepted it.
    (_S.UNKNOWN, _T.ACCEPT): _S.ACCEPTED,
}
"""Every move there is. All but the claim hold for one (attempt, token) only."""


def next_status(status: SendStatus, trigger: Trigger) -> SendStatus | None:
    """The status after `trigger`; None when the move does not exist."""
    return TRANSITIONS.get((status, trigger))


@cache
def sources(trigger: Trigger) -> tuple[SendStatus, ...]:
    """The statuses that `trigger` can leave."""
    return tuple(status for status, moved_by in TRANSITIONS if moved_by is trigger)


@cache
def target(trigger: Trigger) -> SendStatus:
    """The one status that `trigger` leads to."""
    (found,) = {to for (_, moved_by), to in TRANSITIONS.items() if moved_by is trigger}
    return found
