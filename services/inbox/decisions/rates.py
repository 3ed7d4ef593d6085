"""How many calls are heard: a bucket of tokens, kept as the time at which it is full again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """`per_second` calls in the long run, `burst` of them at once. Both are above zero."""

    per_second: float
    burst: float


@dataclass(frozen=True, slots=True)
class Heard:
    """The call goes on; `full_at` is the bucket's new state."""

    full_at: float


@dataclass(frozen=True, slots=True)
class Wait:
    """The bucket is empty for so many seconds."""

    seconds: float


def judge_call(full_at: float, rate: Rate, now: float) -> Heard | Wait:
    """One call at `now`; times are seconds of one clock. A new bucket has `full_at` 0."""
    following = max(full_at, now) + 1 / rate.per_second
    over = following - now - rate.burst / rate.per_second
    # A millionth of a token is rounding, not a call too many.
    return Wait(over) if over > 1e-6 / rate.per_second else Heard(following)
