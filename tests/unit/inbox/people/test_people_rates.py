import pytest

from services.inbox.api.rates import RateLimits
from services.inbox.decisions.rates import Heard, Rate, Wait, judge_call
from services.inbox.model.errors import RefusedError

RATE = Rate(per_second=10, burst=3)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_heard_and_then_the_rate() -> None:
    full_at, heard = 0.0, []
    for now in (5.0, 5.0, 5.0, 5.0, 5.1, 5.1, 9.0, 9.0, 9.0, 9.0):
        judged = judge_call(full_at, RATE, now)
        heard.append(isinstance(judged, Heard))
        full_at = judged.full_at if isinstance(judged, Heard) else full_at
    assert heard == [True, True, True, False, True, False, True, True, True, False]


def test_an_empty_bucket_says_how_long_to_wait() -> None:
    judged = judge_call(5.3, RATE, 5.0)
    assert isinstance(judged, Wait)
    assert judged.seconds == pytest.approx(0.1)
    assert isinstance(judge_call(5.3, RATE, 5.0 + judged.seconds), Heard)


def test_principals_have_their_own_bucket_and_share_the_tenants() -> None:
    clock = Clock()
    limits = RateLimits(principal=Rate(1, 2), tenant=Rate(1, 3), clock=clock)
    limits.count("t", "ana")
    limits.count("t", "ana")
    for _ in range(5):  # what is refused costs the tenant nothing
        with pytest.raises(RefusedError) as refused:
            limits.count("t", "ana")
        assert refused.value.code == "rate_limited"
        assert refused.value.members == {"retry_after": 1}
    limits.count("t", "luis")
    with pytest.raises(RefusedError):
        limits.count("t", "luis")
    limits.count("other", "ana")
    clock.now += 1
    limits.count("t", "ana")


def test_without_rates_everything_is_heard() -> None:
    limits = RateLimits(principal=None, tenant=None)
    for _ in range(1000):
        limits.count("t", "ana")
