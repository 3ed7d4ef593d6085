import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.delivery.decisions.limits import Bucket, NumberRate, pair_bucket


def taken(source: Bucket | NumberRate, now: float, tries: int = 5000) -> int:
    return sum(source.take(now) for _ in range(tries))


def test_pair_may_send_45_at_once_then_one_per_six_seconds():
    bucket = pair_bucket(0)
    assert taken(bucket, 0) == 45
    assert bucket.next_at(0) == pytest.approx(6)
    assert taken(bucket, 5.9) == 0
    assert taken(bucket, 6) == 1
    assert taken(bucket, 66) == 10
    assert taken(bucket, 10_000) == 45


@given(st.lists(st.floats(0.001, 0.5), min_size=20, max_size=200))
def test_number_never_exceeds_its_rate(steps: list[float]):
    rate = NumberRate(80, 1.0, 0)
    now, total = 0.0, 0
    for step in steps:
        now += step
        total += taken(rate, now, 200)
    assert total <= 80 * now + 8 + 1


def test_share_follows_the_partitions():
    rate = NumberRate(1000, 1.0, 0)
    rate.configure(1000, 0.25, 0)
    assert rate.per_second == 250


def test_refusal_halves_the_rate_once_for_a_burst_and_it_recovers_slowly():
    rate = NumberRate(80, 1.0, 0)
    for _ in range(30):
        rate.halve(10)
    assert rate.per_second == 40
    assert taken(rate, 10) == 0
    rate.take(20)
    assert 40 < rate.per_second < 60
    rate.take(100)
    assert rate.per_second == 80


def test_many_refusals_leave_a_trickle():
    rate = NumberRate(80, 1.0, 0)
    for second in range(30):
        rate.halve(second * 1.0)
    assert rate.per_second >= 80 / 32
