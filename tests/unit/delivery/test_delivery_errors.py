from datetime import timedelta
from pathlib import Path

import orjson
import pytest

from services.delivery.decisions.errors import MAX_AGE, RULES, Do, judge, rule_of
from services.delivery.gateways.graph import of_the_user, read_answer
from services.delivery.model import (
    Ambiguous,
    Done,
    Doubt,
    Fail,
    GraphError,
    HoldNumber,
    HoldPair,
    NotSent,
    Retry,
    StopNumber,
    Verdict,
)

SAMPLES = Path(__file__).parents[2] / "payloads" / "api"


def decided(
    answer: GraphError | NotSent | Ambiguous,
    *,
    retries: int = 0,
    age: timedelta = timedelta(),
    by_link: bool = False,
    jitter: float = 0.0,
) -> Verdict:
    return judge(answer, retries=retries, age=age, by_link=by_link, jitter=lambda: jitter)


def by_code(code: int, **how: object) -> Verdict:
    return decided(GraphError(code), **how)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "code",
    [
        *[0, 190, 3, 10, 200, 299, 131005, 368, 131031, 33, 131037, 131042, 131045, 133010],
        *[134011, 133000, 133015, 133016],
    ],
)
def test_code_stops_the_number_until_new_credentials(code: int):
    verdict = by_code(code, age=timedelta(days=9), retries=99)
    assert isinstance(verdict, StopNumber)
    assert verdict.pause is None


@pytest.mark.parametrize(
    "code",
    [
        *[100, 131008, 131009, 135000, 131021, 131026, 131030, 131047, 131049, 131050, 131051],
        *[131052, 131062, 130403, 130472, 130497, 132000, 132016, 132068, 132069, 137000],
        *[131053, 139101],
    ],
)
def test_code_fails_at_once(code: int):
    assert isinstance(by_code(code), Fail)


@pytest.mark.parametrize(
    ("code", "limit"),
    [(1, 3), (131000, 4), (131055, 3), (134100, 3), (131064, 6), (139102, 5), (139103, 5)],
)
def test_code_is_retried_so_often_and_then_fails(code: int, limit: int):
    assert isinstance(by_code(code, retries=limit - 1), Retry)
    assert isinstance(by_code(code, retries=limit), Fail)


@pytest.mark.parametrize("code", [2, 131016, 133004])
def test_outage_is_retried_until_the_message_is_too_old(code: int):
    assert isinstance(by_code(code, retries=1000, age=MAX_AGE - timedelta(seconds=1)), Retry)
    assert isinstance(by_code(code, age=MAX_AGE), Fail)


def test_pair_limit_waits_four_to_the_power_of_the_failures():
    delays = []
    for retries in range(6):
        verdict = by_code(131056, retries=retries)
        assert isinstance(verdict, HoldPair)
        delays.append(verdict.delay.total_seconds())
    assert delays == [1, 4, 16, 64, 256, 256]


def test_throughput_slows_the_number_down_and_call_rate_holds_it_for_minutes():
    slowed, held = by_code(130429), by_code(80007)
    assert isinstance(slowed, HoldNumber)
    assert slowed.slow_down
    assert isinstance(held, HoldNumber)
    assert not held.slow_down
    assert held.delay >= timedelta(minutes=1)


@pytest.mark.parametrize("code", [131057, 2494100])
def test_maintenance_holds_the_number_for_one_to_five_minutes(code: int):
    for retries in (0, 1, 9):
        verdict = by_code(code, retries=retries)
        assert isinstance(verdict, HoldNumber)
        assert timedelta(minutes=1) <= verdict.delay <= timedelta(minutes=5)


def test_spam_restriction_pauses_the_number_for_hours():
    verdict = by_code(131048)
    assert isinstance(verdict, StopNumber)
    assert verdict.pause is not None
    assert verdict.pause >= timedelta(hours=1)


def test_media_by_link_is_retried_once():
    assert isinstance(by_code(131053, by_link=True), Retry)
    assert isinstance(by_code(131053, by_link=True, retries=1), Fail)


def test_unlisted_code_is_retried_only_when_graph_says_transient():
    assert isinstance(decided(GraphError(987654, transient=True)), Retry)
    assert isinstance(decided(GraphError(987654)), Fail)


def test_what_was_certainly_not_written_is_retried_and_what_may_have_been_is_not():
    assert isinstance(decided(NotSent("refused")), Retry)
    assert isinstance(decided(Ambiguous("timeout")), Doubt)


def test_jitter_adds_up_to_half_of_the_delay():
    low, high = by_code(2), decided(GraphError(2), jitter=0.999)
    assert isinstance(low, Retry)
    assert isinstance(high, Retry)
    assert low.delay < high.delay < low.delay * 1.5


def test_every_rule_has_a_stable_reason():
    assert all(rule.reason.replace("_", "").isalpha() for rule in RULES.values())
    assert all(rule.alarm for rule in RULES.values() if rule.do is Do.STOP)


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("error_*.json")), ids=lambda p: p.stem)
def test_sample_error_is_read_by_its_code(sample: Path):
    body = orjson.loads(sample.read_bytes())
    status = body.pop("_http_status")
    answer = read_answer(status, orjson.dumps(body))
    assert isinstance(answer, GraphError)
    assert answer.code == int(sample.stem.split("_")[1])
    assert rule_of(answer) is RULES[answer.code]


def test_regression_code_as_text_is_a_code():
    answer = read_answer(400, b'{"error": {"code": "131026", "message": "Undeliverable"}}')
    assert isinstance(answer, GraphError)
    assert (answer.code, rule_of(answer)) == (131026, RULES[131026])


@pytest.mark.parametrize(
    ("status", "raw"),
    [
        pytest.param(502, b"<html>Bad gateway</html>", id="html"),
        pytest.param(500, b"", id="empty"),
        pytest.param(503, b"{}", id="json without error"),
        pytest.param(200, b"[]", id="list"),
        pytest.param(500, b'{"error": "text"}', id="error that is not Graph's"),
        pytest.param(302, b"", id="redirect"),
    ],
)
def test_answer_that_is_not_graphs_is_ambiguous(status: int, raw: bytes):
    assert isinstance(read_answer(status, raw), Ambiguous)


def test_success_keeps_its_members():
    answer = read_answer(200, b'{"success": true}')
    assert isinstance(answer, Done)
    assert answer.members == {"success": True}


REFUSED = {"code": 131047, "message": "Re-engagement required", "error_data": {"details": "24 h"}}


@pytest.mark.parametrize(
    ("failed", "code"),
    [
        pytest.param([{"errors": [REFUSED]}], 131047, id="own-reason"),
        pytest.param([{"errors": [{**REFUSED, "code": "131047"}]}], 131047, id="code-as-text"),
        pytest.param([{"errors": [{"code": 131047, "error_data": "24 h"}]}], 131047, id="bare"),
        pytest.param([{"errors": ["refused"]}], 139100, id="no-object"),
        pytest.param([{"errors": []}], 139100, id="no-reason"),
        pytest.param(["+12025550111"], 139100, id="phone-alone"),
        pytest.param(None, 139100, id="nobody-named"),
    ],
)
def test_refused_block_has_the_users_own_reason(failed: object, code: int):
    members = {"block_users": {"failed_users": failed}, "error": {"code": 139100}}

    answer = of_the_user(read_answer(400, orjson.dumps(members)))

    assert isinstance(answer, GraphError)
    assert answer.code == code


def test_regression_user_who_failed_is_not_blocked_whatever_the_http_status():
    failed = {"block_users": {"failed_users": [{"errors": [REFUSED]}]}}
    answer = of_the_user(read_answer(200, orjson.dumps(failed)))
    assert isinstance(answer, GraphError)
    assert (answer.code, answer.detail) == (131047, "24 h")
