import secrets
from pathlib import Path

import pytest

from tests.fault.delivery import Plan, run, show
from tests.support.stack import Addresses

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


async def test_killed_delivery_posts_nothing_twice_and_loses_nothing(
    stack: Addresses, tmp_path: Path
):
    plan = Plan(seed=secrets.randbelow(2**31))
    outcome = await run(plan, stack, tmp_path)
    show(plan, outcome)
    assert outcome.wrong == []
    assert outcome.ambiguous, "Meta was too reliable to prove anything"
    assert outcome.settled
