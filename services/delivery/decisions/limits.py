"""Token buckets. Time comes in as seconds of a monotonic clock."""

from __future__ import annotations

PAIR_BURST = 45
PAIR_SECONDS = 6.0
"""One message per 6 s to one user, up to 45 at once, borrowed from the future."""
SLOWEST = 1 / 32
RECOVERY_SECONDS = 60.0
"""From nothing back to the full rate."""
HALVE_AT_MOST_EVERY = 1.0
"""Refusals of one burst come together: they are one sign, not fifty."""


class Bucket:
    """`rate` tokens a second, at most `burst`; full at first."""

    __slots__ = ("_at", "burst", "rate", "tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self.tokens = burst
        self._at = now

    def refill(self, now: float) -> None:
        """Account for the time since the last call."""
        if now > self._at:
            self.tokens = min(self.burst, self.tokens + (now - self._at) * self.rate)
            self._at = now

    def take(self, now: float) -> bool:
        """Take one token if there is one."""
        self.refill(now)
        # An accumulated rounding error must not cost a whole wait.
        if self.tokens < 1 - 1e-9:
            return False
        self.tokens -= 1
        return True

    def empty(self, now: float) -> None:
        """Lose all tokens: somebody else counted differently."""
        self.refill(now)
        self.tokens = 0.0

    def next_at(self, now: float) -> float:
        """When one token will be there."""
        self.refill(now)
        return now if self.tokens >= 1 - 1e-9 else now + (1 - self.tokens) / self.rate

    def is_full(self, now: float) -> bool:
        self.refill(now)
        return self.tokens >= self.burst


def pair_bucket(now: float) -> Bucket:
    """The bucket of one number to one user."""
    return Bucket(1 / PAIR_SECONDS, PAIR_BURST, now)


class NumberRate:
    """This pod's share of a number's rate; halved when Meta refuses, restored slowly.

    A tenth of a second may go at once, so that the rate over any second is kept.
    """

    __slots__ = ("_bucket", "_changed", "_factor", "_full", "_halved", "_share")

    def __init__(self, full: float, share: float, now: float) -> None:
        self._full = full
        self._share = share
        self._factor = 1.0
        self._changed = now
        self._halved = float("-inf")
        rate = self._rate()
        self._bucket = Bucket(rate, _burst(rate), now)

    @property
    def per_second(self) -> float:
        return self._bucket.rate

    @property
    def full(self) -> float:
        """The number's whole rate, over all pods."""
        return self._full

    def configure(self, full: float, share: float, now: float) -> None:
        """Another level of the number, or other partitions of this pod."""
        if (full, share) != (self._full, self._share):
            self._full, self._share = full, share
            self._set(now)

    def halve(self, now: float) -> None:
        """Meta said 130429."""
        if now - self._halved < HALVE_AT_MOST_EVERY:
            return
        self._recover(now)
        self._halved = now
        self._factor = max(SLOWEST, self._factor / 2)
        self._set(now)
        self._bucket.empty(now)

    def take(self, now: float) -> bool:
        self._recover(now)
        return self._bucket.take(now)

    def next_at(self, now: float) -> float:
        self._recover(now)
        return self._bucket.next_at(now)

    def _recover(self, now: float) -> None:
        if self._factor < 1.0 and now - self._changed >= 1.0:
            self._factor = min(1.0, self._factor + (now - self._changed) / RECOVERY_SECONDS)
            self._set(now)

    def _set(self, now: float) -> None:
        self._bucket.refill(now)
        self._changed = now
        self._bucket.rate = self._rate()
        self._bucket.burst = _burst(self._bucket.rate)
        self._bucket.tokens = min(self._bucket.tokens, self._bucket.burst)

    def _rate(self) -> float:
        return max(self._full * self._share * self._factor, 0.1)


def _burst(rate: float) -> float:
    return max(1.0, rate / 10)
