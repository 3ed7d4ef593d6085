"""Graph's error codes as data: one decision each.

Source: the Cloud API's page "Error codes" (19 Nov 2025) with the additions of 2026.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import assert_never

from services.delivery.model import (
    Ambiguous,
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

_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
MAX_AGE = timedelta(hours=24)
"""A message that was retried for so long is outside the window it was written in."""


class Do(StrEnum):
    """The kinds of decision in the table."""

    RETRY = "retry"
    HOLD_PAIR = "hold_pair"
    HOLD_NUMBER = "hold_number"
    STOP = "stop"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Rule:
    """What to do about a code.

    The n-th retry waits `first * factor**n`, at most `longest`, plus up to half of it at random.
    After `limit` retries it fails; None: until the message is `MAX_AGE` old. `pause`: a stop that
    ends by itself. `slow_down`: the number's rate is halved. `link_only`: retried only when the
    file is fetched by link.
    """

    do: Do
    reason: str
    first: timedelta = _SECOND
    factor: int = 2
    longest: timedelta = 5 * _MINUTE
    limit: int | None = None
    pause: timedelta | None = None
    slow_down: bool = False
    alarm: bool = False
    link_only: bool = False


def _fail(reason: str) -> Rule:
    return Rule(Do.FAIL, reason)


def _stop(reason: str, pause: timedelta | None = None) -> Rule:
    return Rule(Do.STOP, reason, pause=pause, alarm=True)


_TOKEN = _stop("token_invalid")
_PERMISSION = _stop("permission_missing")
_ACCOUNT = _stop("account_not_ready")
_CALL_RATE = Rule(Do.HOLD_NUMBER, "call_rate", first=2 * _MINUTE, longest=10 * _MINUTE)
_DOWN = Rule(Do.RETRY, "graph_unavailable", first=2 * _SECOND)
_MAINTENANCE = Rule(Do.HOLD_NUMBER, "maintenance", first=_MINUTE)
_BAD_REQUEST = _fail("bad_request")
_TEMPLATE = _fail("template_or_flow")
_SYNCING = Rule(Do.RETRY, "template_syncing", first=10 * _MINUTE, longest=10 * _MINUTE, limit=3)

RULES: dict[int, Rule] = {
    0: _TOKEN,
    190: _TOKEN,
    3: _PERMISSION,
    10: _PERMISSION,
    **dict.fromkeys(range(200, 300), _PERMISSION),
    131005: _PERMISSION,
    4: _CALL_RATE,
    80007: _CALL_RATE,
    130429: Rule(Do.HOLD_NUMBER, "throughput", first=_SECOND, longest=_MINUTE, slow_down=True),
    131056: Rule(Do.HOLD_PAIR, "pair_rate", first=_SECOND, factor=4, longest=256 * _SECOND),
    131048: _stop("spam_restriction", pause=timedelta(hours=2)),
    131064: Rule(
        Do.RETRY,
        "template_limit",
        first=10 * _MINUTE,
        longest=60 * _MINUTE,
        limit=6,
        alarm=True,
    ),
    368: _stop("policy_block"),
    131031: _stop("account_locked"),
    130497: _fail("country_restricted"),
    1: Rule(Do.RETRY, "unknown_error", limit=3),
    2: _DOWN,
    131000: Rule(Do.RETRY, "something_went_wrong", limit=4),
    131016: _DOWN,
    131057: _MAINTENANCE,
    2494100: _MAINTENANCE,
    133004: _DOWN,
    33: _stop("number_deleted"),
    100: _BAD_REQUEST,
    131008: _BAD_REQUEST,
    131009: _BAD_REQUEST,
    135000: _BAD_REQUEST,
    131021: _fail("recipient_is_sender"),
    131026: _fail("undeliverable"),
    131030: _fail("recipient_not_allowed"),
    131047: _fail("window_closed"),
    131049: _fail("not_delivered_by_meta"),
    131050: _fail("marketing_stopped"),
    131051: _fail("unsupported_type"),
    131052: _fail("media_not_downloadable"),
    131053: Rule(Do.RETRY, "media_upload", first=2 * _SECOND, limit=1, link_only=True),
    131055: _SYNCING,
    131063: _SYNCING,
    134100: _SYNCING,
    134101: _SYNCING,
    134102: _SYNCING,
    131062: _fail("bsuid_not_allowed"),
    130403: _fail("recipient_blocked"),
    130472: _fail("experiment"),
    131037: _ACCOUNT,
    131042: _ACCOUNT,
    131045: _ACCOUNT,
    **dict.fromkeys((c for c in range(133000, 133016) if c != 133004), _ACCOUNT),
    134011: _ACCOUNT,
    133016: _stop("registration_rate"),
    **dict.fromkeys(range(132000, 132017), _TEMPLATE),
    132068: _TEMPLATE,
    132069: _TEMPLATE,
    139100: _fail("block_refused"),
    139101: _fail("block_list_full"),
    139102: Rule(Do.RETRY, "block_list_busy", limit=5),
    139103: Rule(Do.RETRY, "block_internal", limit=5),
    137000: _fail("identity_changed"),
}
TRANSIENT = Rule(Do.RETRY, "transient", first=2 * _SECOND, limit=3)
UNLISTED = _fail("refused")
NOT_SENT = Rule(Do.RETRY, "not_connected", first=_SECOND, longest=_MINUTE)


def rule_of(error: GraphError) -> Rule:
    """The rule of a code; an unlisted one is retried only if Graph itself says transient."""
    return RULES.get(error.code) or (TRANSIENT if error.transient else UNLISTED)


def judge(
    answer: GraphError | NotSent | Ambiguous,
    *,
    retries: int,
    age: timedelta,
    by_link: bool,
    jitter: Callable[[], float],
) -> Verdict:
    """What to do after an answer that is not a success.

    `retries` is how often this message was retried, `age` how long ago it was queued, `by_link`
    whether its file is fetched by link, `jitter` a random number of [0, 1).
    """
    match answer:
        case Ambiguous(reason):
            return Doubt(reason)
        case NotSent():
            rule = NOT_SENT
        case GraphError():
            rule = rule_of(answer)
        case _ as never:
            assert_never(never)
    return _apply(rule, retries=retries, age=age, by_link=by_link, jitter=jitter)


def _apply(
    rule: Rule, *, retries: int, age: timedelta, by_link: bool, jitter: Callable[[], float]
) -> Verdict:
    if rule.do is Do.STOP:
        return StopNumber(rule.reason, rule.pause)
    spent = rule.limit is not None and retries >= rule.limit
    if rule.do is Do.FAIL or spent or age >= MAX_AGE or (rule.link_only and not by_link):
        return Fail(rule.reason)
    base = min(rule.first * rule.factor ** min(retries, 16), rule.longest)
    delay = base * (1 + jitter() / 2)
    match rule.do:
        case Do.RETRY:
            return Retry(delay, rule.reason, rule.alarm)
        case Do.HOLD_PAIR:
            return HoldPair(delay, rule.reason)
        case Do.HOLD_NUMBER:
            return HoldNumber(delay, rule.reason, rule.slow_down)
        case _ as never:
            assert_never(never)
