"""Delivery as a process that kills itself: `KILL_AT=claim.after:3`, at the third time there.

`post.during` is while Meta has the request and its answer is on the way.
"""

from __future__ import annotations

import asyncio
import os
import signal

from services.delivery.app import create_app
from services.delivery.model import FaultPoint
from services.delivery.settings import DeliverySettings
from shared.observability.service import run_service

DURING = "post.during"
STEPS = (*(point.value for point in FaultPoint), DURING)
# Less than the answers of the test's Graph server take.
_ON_THE_WAY = 0.02


class Death:
    """SIGKILL at the nth time that a step is reached."""

    def __init__(self, step: str, nth: int) -> None:
        self._point = FaultPoint.POST_BEFORE if step == DURING else step
        self._delay = _ON_THE_WAY if step == DURING else None
        self._left = nth

    async def reach(self, point: str) -> None:
        if point != self._point:
            return
        self._left -= 1
        if self._left:
            return
        if self._delay is None:
            _die()
        else:
            asyncio.get_running_loop().call_later(self._delay, _die)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    settings = DeliverySettings()
    step, _, nth = os.environ["KILL_AT"].partition(":")
    death = Death(step, int(nth))
    run_service(
        "delivery",
        lambda: create_app(settings, faults=death),
        host=settings.host,
        port=settings.delivery_port,
    )


if __name__ == "__main__":
    main()
