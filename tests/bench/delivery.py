"""`python -m tests.bench.delivery`: one number sends at a rate, and its statuses come back.

One delivery process, a number of level 1,000, three statuses for each message to a listener: what
is printed each second is the backlog (commands given minus outcomes told), which must not grow.
The load, Graph and the listener share the machine with what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.home import ROOT
from shared.contracts.records import OutRecord
from tests.support.delivery_process import (
    PHONE_NUMBER_ID,
    DeliveryRig,
    delivery_rig,
    holds,
    send_command,
)
from tests.support.stack import Addresses, local

_TICK = 0.05
_DRAIN_SECONDS = 60.0
# Below the burst of a pair (45), so that the number's rate is the only limit.
_PER_CHAT = 40


@dataclass(frozen=True, slots=True)
class Load:
    """`rate` messages a second, for `seconds`."""

    rate: float
    seconds: float


@dataclass(slots=True)
class Result:
    """`backlog` is (seconds, given, told, statuses) each second."""

    sent: int = 0
    told: int = 0
    unknown: int = 0
    statuses: int = 0
    drain: float = 0.0
    backlog: list[tuple[float, int, int, int]] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """Messages a second by which the backlog grew over the second half of the load."""
        half = self.backlog[len(self.backlog) // 2 :]
        if len(half) < 2:
            return 0.0
        (t0, given0, told0, _), (t1, given1, told1, _) = half[0], half[-1]
        return ((given1 - told1) - (given0 - told0)) / (t1 - t0)


async def measure(load: Load, stack: Addresses, folder: Path) -> Result:
    """One run."""
    name = f"b{secrets.token_hex(5)}"
    async with delivery_rig(stack, name, folder, ATRIO_DELIVERY_RATE="1000") as rig:
        await rig.control("PUT", f"/numbers/{PHONE_NUMBER_ID}", {"throughput": "HIGH"})
        await rig.control("PATCH", "/limits", {"throughput": True})
        await rig.start_pod()
        result = Result()
        begun = time.monotonic()
        await _give(rig, load, result, begun)
        ended = time.monotonic()
        await rig.has_told(result.sent, _DRAIN_SECONDS)
        result.drain = time.monotonic() - ended
        await holds(lambda: rig.status_count >= 3 * _accepted(rig), _DRAIN_SECONDS)
        result.told, result.statuses = rig.told, rig.status_count
        result.unknown = sum("send.unknown" in kinds for kinds in rig.outcomes.values())
        return result


async def _give(rig: DeliveryRig, load: Load, result: Result, begun: float) -> None:
    shown = 1.0
    total = int(load.rate * load.seconds)
    chats = max(1, -(-total // _PER_CHAT), int(load.rate))
    while result.sent < total:
        now = time.monotonic() - begun
        due = min(total, int(load.rate * now))
        await rig.publish(_command(n, chats) for n in range(result.sent, due))
        result.sent = due
        if now >= shown:
            shown += 1.0
            result.backlog.append((now, result.sent, rig.told, rig.status_count))
        await asyncio.sleep(_TICK)


def _command(n: int, chats: int) -> OutRecord:
    chat = n % chats
    return send_command(f"m{n}", f"chat-{chat}", n, f"1202{5550000 + chat}")


def _accepted(rig: DeliveryRig) -> int:
    return sum("send.accepted" in kinds for kinds in rig.outcomes.values())


def show(load: Load, result: Result) -> None:
    """The table of a run."""
    print("   s    given     told  backlog  statuses")
    for at, given, told, statuses in result.backlog:
        print(f"{at:4.0f} {given:8} {told:8} {given - told:8} {statuses:9}")
    print(
        f"{load.rate:.0f} msg/s for {load.seconds:.0f} s: {result.sent} sent, {result.told} told, "
        f"{result.unknown} unknown, {result.statuses} statuses; backlog growth "
        f"{result.growth:+.1f} msg/s, drained in {result.drain:.2f} s"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.delivery", description=__doc__)
    parser.add_argument("--rate", type=float, default=1000, help="messages a second")
    parser.add_argument("--seconds", type=float, default=30)
    given = parser.parse_args()
    load = Load(given.rate, given.seconds)
    folder = Path(tempfile.mkdtemp(prefix="atrio-bench-"))
    with local(ROOT / ".atrio" / "bench-delivery", keep=False) as stack:
        result = asyncio.run(measure(load, stack, folder))
    show(load, result)
    return 0 if result.told == result.sent else 1


if __name__ == "__main__":
    sys.exit(main())
