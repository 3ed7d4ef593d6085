from datetime import UTC, datetime, timedelta

import pytest

from services.inbox.decisions.signing import KeyPlan, KeyRule, KeyTimes, plan_keys

START = datetime(2026, 6, 1, tzinfo=UTC)
RULE = KeyRule(life=timedelta(days=90), announced=timedelta(minutes=10), kept=timedelta(minutes=75))
FIRST = KeyTimes(1, START)
SECOND = KeyTimes(2, START + RULE.life + RULE.announced)


@pytest.mark.parametrize(
    ("keys", "after", "plan"),
    [
        pytest.param([FIRST], timedelta(0), KeyPlan(1, (1,), (), due=False), id="the first one"),
        pytest.param([FIRST], RULE.life, KeyPlan(1, (1,), (), due=True), id="the next is due"),
        pytest.param(
            [FIRST, SECOND], RULE.life, KeyPlan(1, (1, 2), (), due=False), id="shown, not signing"
        ),
        pytest.param(
            [FIRST, SECOND],
            RULE.life + RULE.announced,
            KeyPlan(2, (1, 2), (), due=False),
            id="signing, the old one still verifies",
        ),
        pytest.param(
            [FIRST, SECOND],
            RULE.life + RULE.announced + RULE.kept,
            KeyPlan(2, (2,), (1,), due=False),
            id="no token of the old one is alive",
        ),
        pytest.param(
            [SECOND], timedelta(0), KeyPlan(2, (2,), (), due=False), id="a clock that went back"
        ),
        pytest.param(
            [FIRST], timedelta(days=900), KeyPlan(1, (1,), (), due=True), id="nobody was there"
        ),
    ],
)
def test_keys_take_turns_without_a_gap(
    keys: list[KeyTimes], after: timedelta, plan: KeyPlan
) -> None:
    assert plan_keys(keys, RULE, START + after) == plan
