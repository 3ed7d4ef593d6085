"""`python -m tests.bench.chain [--rates 300,1000] [--seconds 20]`: the chain alone, as JSON."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from tests.bench.chain.measuring import Options, run
from tests.support.stack import addresses

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--rates", default="300,1000")
parser.add_argument("--seconds", type=float, default=20)
parser.add_argument("--customers", type=int, default=3000)
parser.add_argument("--agents", type=int, default=0)
given = parser.parse_args()
options = Options(
    rates=tuple(float(rate) for rate in given.rates.split(",")),
    seconds=given.seconds,
    customers=given.customers,
    agents=given.agents,
)
with addresses() as stack, tempfile.TemporaryDirectory() as folder:
    for row in run(stack, Path(folder), options):
        for side in ("floor", "ours"):
            row[side].pop("histogram_ms")
        print(json.dumps(row, indent=1))
