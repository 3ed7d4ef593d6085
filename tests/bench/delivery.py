"""`python -m tests.bench.delivery`: one number sends at a rate, and its statuses come back.

One delivery process, a number of level 1,000, three statuses for each message to a listener: what
is printed each second is the backlog (commands given minus outcomes told), which must not grow.
The load, Graph and the listener share the machine with what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from deploy.local.home import ROOT
from shared.contracts.records import OutRecord
from tests.bench.chain.load import Processors
from tests.bench.chain.system import listeners
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
    """`rate` messages a second, for `seconds`; `floor`: to bare clients instead of delivery."""

    rate: float
    seconds: float
    floor: bool = False


@dataclass(slots=True)
class Result:
    """`backlog` is (seconds, given, told, statuses) each second."""

    sent: int = 0
    told: int = 0
    repeats: int = 0
    """Events told again: they are told at least once."""
    accepted: int = 0
    unknown: int = 0
    statuses: int = 0
    drain: float = 0.0
    waits: list[float] = field(default_factory=list)
    """Seconds from the command to its outcome, as far as they were seen."""
    shares: dict[str, float] = field(default_factory=dict)
    """Of a core, while the load lasted; `all` is that of the machine, others' work included."""
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
        await rig.control("PATCH", "/limits", {"throughput": not load.floor})
        pod = await (rig.start("tests.bench.delivery_floor") if load.floor else rig.start_pod())
        processors = Processors(
            {"floor" if load.floor else "delivery": pod.pid} | listeners(_servers(stack))
        )
        await _give(rig, Load(load.rate / 10, 2.0), Result(), 0)  # connections, plans, metadata
        warm = int(load.rate / 10 * 2.0)
        await holds(lambda: rig.status_count >= 3 * warm, _DRAIN_SECONDS)
        result = Result()
        processors.start()
        psutil.cpu_percent()
        begun = time.monotonic()
        await _give(rig, load, result, warm)
        ended = time.monotonic()
        result.shares = processors.stop() | {
            "all": psutil.cpu_percent() * (os.cpu_count() or 1) / 100
        }
        total = warm + result.sent
        await holds(lambda: len(rig.outcomes) >= total, _DRAIN_SECONDS)
        result.drain = time.monotonic() - ended
        await holds(lambda: rig.status_count >= 3 * _accepted(rig), _DRAIN_SECONDS)
        result.told, result.statuses = len(rig.outcomes) - warm, rig.status_count - 3 * warm
        result.accepted = _accepted(rig) - warm
        result.unknown = sum("send.unknown" in kinds for kinds in rig.outcomes.values())
        result.repeats = rig.told - len(rig.outcomes)
        result.waits = sorted(
            rig.told_at[f"m{n}"] - (begun + (n - warm) / load.rate)
            for n in range(warm, total)
            if f"m{n}" in rig.told_at
        )
        return result


def _servers(stack: Addresses) -> dict[str, int]:
    return {
        "kafka": int(stack.kafka_servers.rpartition(":")[2]),
        "mongod": urlsplit(stack.mongo_url).port or 0,
    }


async def _give(rig: DeliveryRig, load: Load, result: Result, first: int) -> None:
    begun, shown = time.monotonic(), 1.0
    told, statuses = len(rig.outcomes), rig.status_count
    total = int(load.rate * load.seconds)
    chats = max(1, -(-total // _PER_CHAT), int(load.rate))
    while result.sent < total:
        now = time.monotonic() - begun
        due = min(total, int(load.rate * now))
        await rig.publish(_command(n, chats) for n in range(first + result.sent, first + due))
        result.sent = due
        if now >= shown:
            shown += 1.0
            now_told, now_statuses = len(rig.outcomes) - told, rig.status_count - statuses
            result.backlog.append((now, result.sent, now_told, now_statuses))
        await asyncio.sleep(_TICK)


def _command(n: int, chats: int) -> OutRecord:
    chat = n % chats
    return send_command(f"m{n}", f"chat-{chat}", n, f"1203{5550000 + chat}")


def _accepted(rig: DeliveryRig) -> int:
    return sum("send.accepted" in kinds for kinds in rig.outcomes.values())


def show(load: Load, result: Result) -> None:
    """The table of a run."""
    print("   s    given     told  backlog  statuses")
    for at, given, told, statuses in result.backlog:
        print(f"{at:4.0f} {given:8} {told:8} {given - told:8} {statuses:9}")
    print(
        f"{load.rate:.0f} msg/s for {load.seconds:.0f} s: {result.sent} sent, "
        f"{result.accepted} accepted, {result.unknown} unknown, {result.repeats} told again, "
        f"{result.statuses} statuses; "
        f"backlog growth {result.growth:+.1f} msg/s, drained in {result.drain:.2f} s"
    )
    if result.waits:
        p50, p99 = (result.waits[int(len(result.waits) * share)] for share in (0.5, 0.99))
        print(f"due to outcome told: p50 {1000 * p50:.0f} ms, p99 {1000 * p99:.0f} ms")
    print("share of a core:", ", ".join(f"{n} {s:.2f}" for n, s in result.shares.items()))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.delivery", description=__doc__)
    parser.add_argument("--rate", type=float, default=1000, help="messages a second")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--floor", action="store_true", help="bare clients instead of delivery")
    given = parser.parse_args()
    load = Load(given.rate, given.seconds, given.floor)
    folder = Path(tempfile.mkdtemp(prefix="atrio-bench-"))
    with local(ROOT / ".atrio" / "bench-delivery", keep=False) as stack:
        result = asyncio.run(measure(load, stack, folder))
    show(load, result)
    return 0 if result.accepted == result.sent else 1


if __name__ == "__main__":
    sys.exit(main())
