"""`python -m tests.fault`: the fault test by itself, longer or harder than in the suite."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

from tests.fault.report import print_report
from tests.fault.run import PARTS, Plan, Turn, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fault", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    parser.add_argument("--seconds", type=float, default=45.0, help="of load, at least")
    parser.add_argument("--customers", type=int, default=300)
    parser.add_argument("--rate", type=float, default=100.0, help="messages a second")
    parser.add_argument("--parts", default=",".join(PARTS), metavar="A,B", help="hurt only these")
    parser.add_argument("--home", type=Path, help="keep data and logs here (an empty folder)")
    parser.add_argument(
        "--turns", default=",".join(Turn), metavar="A,B", help="what is done, in turn"
    )
    options = parser.parse_args()
    home = options.home or Path(tempfile.mkdtemp(prefix="atrio-fault-"))
    plan = Plan(
        home.resolve(),
        options.seed,
        options.seconds,
        options.customers,
        options.rate,
        tuple(options.parts.split(",")),
        tuple(Turn(turn) for turn in options.turns.split(",")),
    )
    print(f"seed {plan.seed}, logs in {plan.home / 'logs'}", flush=True)
    outcome = asyncio.run(run(plan, lambda line: print(line, flush=True)))
    return 0 if print_report(plan, outcome) else 1


if __name__ == "__main__":
    sys.exit(main())
