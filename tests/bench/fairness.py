"""`python -m tests.bench.fairness`: what one tenant's queue costs another one's single message.

One delivery process. A quiet tenant's messages go one by one, each when the last one's outcome was
told: alone, then while a noisy tenant (a number of 80 a second) has its messages queued. Told
apart is one more message, given right behind the noisy ones, before delivery has stored them.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import secrets
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from deploy.local.home import ROOT
from tests.support.delivery_process import (
    DeliveryRig,
    delivery_rig,
    holds,
    number_credentials,
    send_command,
)
from tests.support.stack import Addresses, local

QUIET = "quiet"
LIMIT = 1.0
"""Seconds that the noise may add."""
_PER_CHAT = 10
_CHUNK = 1000
_END_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Result:
    """Seconds from a command to its outcome's event."""

    alone: list[float]
    behind: float
    beside: list[float]

    @property
    def added(self) -> float:
        """What the slowest message beside the queue took longer than the slowest alone."""
        return max(self.beside) - max(self.alone)


async def measure(queued: int, singles: int, stack: Addresses, folder: Path) -> Result:
    """One run."""
    name = f"q{secrets.token_hex(5)}"
    async with delivery_rig(stack, name, folder) as rig:
        await rig.publisher.publish([number_credentials(QUIET, QUIET, "200000000000002")])
        await rig.start_pod()
        numbers = itertools.count()
        await _single(rig, next(numbers))  # connections, plans
        alone = [await _single(rig, next(numbers)) for _ in range(singles)]
        noise = [
            send_command(f"n{n}", f"noisy-{n // _PER_CHAT}", n, f"1203{5550000 + n // _PER_CHAT}")
            for n in range(queued)
        ]
        for start in range(0, queued, _CHUNK):
            await rig.publish(noise[start : start + _CHUNK])
        behind = await _single(rig, next(numbers))
        async with asyncio.timeout(_END_SECONDS):
            while await rig.stored() < queued:  # noqa: ASYNC110 - a poll
                await asyncio.sleep(0.2)
        beside = [await _single(rig, next(numbers)) for _ in range(singles)]
        left = queued - rig.told
        print(f"{left} of {queued} noisy messages were still queued at the end")
        return Result(alone, behind, beside)


async def _single(rig: DeliveryRig, n: int) -> float:
    message = f"quiet-{n}"
    begun = time.monotonic()
    phone = f"1204{5550000 + n}"
    command = send_command(message, message, 1, phone, tenant=QUIET, number=QUIET)
    await rig.publish([command])
    if not await holds(lambda: message in rig.outcomes, _END_SECONDS):
        raise RuntimeError("the quiet tenant's message was not sent")
    return time.monotonic() - begun


def show(queued: int, result: Result) -> None:
    """The table of a run."""

    def line(what: str, seconds: list[float]) -> None:
        middle = 1000 * statistics.median(seconds)
        print(f"{what:42} median {middle:7.0f} ms   slowest {1000 * max(seconds):7.0f} ms")

    line("alone", result.alone)
    line(f"beside {queued} queued ones", result.beside)
    line(f"right behind {queued} commands", [result.behind])
    verdict = "holds" if result.added < LIMIT else "DOES NOT HOLD"
    print(f"the queue adds {1000 * result.added:.0f} ms to the slowest: {verdict}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fairness", description=__doc__)
    parser.add_argument("--queued", type=int, default=50_000)
    parser.add_argument("--singles", type=int, default=30)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="atrio-bench-"))
    with local(ROOT / ".atrio" / "bench-delivery", keep=False) as stack:
        result = asyncio.run(measure(given.queued, given.singles, stack, folder))
    show(given.queued, result)
    return 0 if result.added < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
