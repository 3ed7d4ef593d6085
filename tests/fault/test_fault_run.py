"""Every service and server is killed under load; what was acknowledged is all there, once.

`SEED` repeats a run's choices, `FAULT_SECONDS` makes the load last longer: `docs/runbooks`.
"""

import os
import random
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from deploy.local.errors import LocalStackError
from deploy.local.stack import require_platform
from tests.fault.checker import check
from tests.fault.mutations import MUTATIONS
from tests.fault.report import print_report, problems
from tests.fault.run import Plan, run

_SECONDS = float(os.environ.get("FAULT_SECONDS") or 20)


@pytest.mark.e2e
@pytest.mark.fault
@pytest.mark.integration
@pytest.mark.timeout(300 + 4 * _SECONDS)
async def test_nothing_acknowledged_is_lost_when_every_part_is_killed_under_load(
    tmp_path: Path, unavailable: Callable[[str], NoReturn]
):
    seed = int(os.environ.get("SEED") or secrets.randbelow(2**31))
    print(f"SEED={seed}")
    plan = Plan(tmp_path, seed, _SECONDS, customers=150, rate=60)
    try:
        uname = os.uname()
        require_platform(uname.sysname, uname.machine)
    except LocalStackError as error:
        unavailable(str(error))

    outcome = await run(plan, print)

    print_report(plan, outcome)
    assert problems(outcome) == [], f"SEED={seed} repeats this run's choices"
    for name, (mutation, kind) in MUTATIONS.items():
        damaged = mutation(outcome.recording, random.Random(seed))
        assert check(damaged).count(kind) > 0, f"the checker does not see: {name}"
    # 400 MB that nobody will look at; a failed run keeps them.
    shutil.rmtree(tmp_path / "data")
