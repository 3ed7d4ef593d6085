"""`make bench`: every benchmark beside its floor, in one run, each part on a stack of its own.

make bench ARGS="--only ingest,chain --seconds 10" runs parts; what the files have of others stays.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deploy.local.home import ROOT, Home
from deploy.local.ports import INFRASTRUCTURE
from deploy.local.processes import running_pid
from shared.observability.logs import configure_logging
from tests.bench import report
from tests.bench.report import PARTS, Row
from tests.support.stack import Addresses, local

HOME = ROOT / ".atrio" / "bench"


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas")
    parser.add_argument("--seconds", type=float, default=20, help="of a chain's rate, measured")
    parser.add_argument("--rates", default="300,1000", help="of the chain, messages a second")
    parser.add_argument("--customers", type=int, default=3000, help="who write in the chain")
    parser.add_argument("--agents", type=int, default=0, help="sockets beside the measuring one")
    parser.add_argument("--messages", type=int, default=30_000, help="of inbox' backlog")
    parser.add_argument("--sockets", type=int, default=2000, help="that are opened and left idle")
    parser.add_argument("--rounds", type=int, default=5, help="of the parts that take turns")
    parser.add_argument("--out", type=Path, default=report.DOCS, help="folder of the three files")
    parser.add_argument("--dry", action="store_true", help="only show, write no files")
    found = parser.parse_args(given)
    unknown = set(found.only.split(",")) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))} (of {', '.join(PARTS)})")
    return found


def measure(
    part: str, stack: Addresses, folder: Path, given: argparse.Namespace
) -> tuple[list[Row], Any]:
    """One part's rows and what they were made of."""
    match part:
        case "ingest":
            from tests.bench import ingest

            found: Any = ingest.run(
                stack.kafka_servers, seconds=min(5, given.seconds), rounds=given.rounds
            )
            return report.ingest_rows(found), found
        case "inbox":
            os.environ["BENCH_MESSAGES"] = str(given.messages)
            os.environ["BENCH_WARM_UP"] = str(given.messages // 8)
            os.environ["BENCH_ROUNDS"] = str(min(2, given.rounds))
            from tests.bench import inbox

            found = inbox.run()
            return report.inbox_rows(found), found
        case "wrapper":
            from tests.bench import kafka_wrapper

            found = asyncio.run(
                kafka_wrapper.measure(stack.kafka_servers, given.messages, given.rounds)
            )
            return report.wrapper_rows(found), found
        case "chain":
            from tests.bench.chain.measuring import Options, run

            options = Options(
                rates=tuple(float(rate) for rate in given.rates.split(",")),
                seconds=given.seconds,
                warm_up=min(4, given.seconds),
                customers=given.customers,
                agents=given.agents,
            )
            found = run(stack, folder, options)
            return report.chain_rows(found), found
        case _:
            from tests.bench import sockets

            cost = asyncio.run(sockets.measure_sockets(stack.redis_url, count=given.sockets))
            return report.socket_rows(cost.floor, cost.ours), asdict(cost)


@contextmanager
def fresh_stack() -> Iterator[Addresses]:
    """Kafka, MongoDB and Redis without anything in them.

    What a part leaves is work for the servers for minutes, which the next part would pay for. If
    servers of a run that was broken off still stand, they are taken as they are.
    """
    place = Home(HOME)
    if not any(running_pid(place.pid_file(name)) for name in INFRASTRUCTURE):
        shutil.rmtree(HOME, ignore_errors=True)
    with local(HOME, keep=False) as stack:
        yield stack


Stack = Callable[[], AbstractContextManager[Addresses]]


def run(given: argparse.Namespace, folder: Path = HOME, stack: Stack = fresh_stack) -> list[Row]:
    """Every part that was asked for; shows the table, and writes the files unless it is dry."""
    about = report.machine()
    rows: list[Row] = []
    raw: dict[str, Any] = {}
    for part in PARTS:
        if part in given.only.split(","):
            print(f"{part} ...", flush=True)
            with stack() as addresses:
                # Where the parts' own processes look for them.
                os.environ |= {
                    "ATRIO_KAFKA_SERVERS": addresses.kafka_servers,
                    "ATRIO_MONGO_URL": addresses.mongo_url,
                    "ATRIO_REDIS_URL": addresses.redis_url,
                }
                lines, raw[part] = measure(part, addresses, folder, given)
            rows += lines
    report.show(rows)
    if not given.dry:
        for file in report.write(rows, raw, about, given.out):
            print(f"wrote {file}")
    return rows


def main() -> int:
    """Run all of it; 1 when something that is promised does not hold."""
    given = arguments()
    configure_logging(service="bench", level="ERROR")
    return int(any(row.held is False for row in run(given)))


if __name__ == "__main__":
    sys.exit(main())
