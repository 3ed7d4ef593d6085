"""Meta's limits: messages per second of a number, and of one number to one user.

https://developers.facebook.com/documentation/business-messaging/whatsapp/about-the-platform
"""

from collections import OrderedDict
from collections.abc import Callable

PAIR_BURST = 45
PAIR_PER_SECOND = 1 / 6
_KEPT_PAIRS = 100_000


class Buckets:
    """Token buckets by key; the least recently used are forgotten past a bound."""

    def __init__(self, clock: Callable[[], float], kept: int = _KEPT_PAIRS) -> None:
        self._clock = clock
        self._kept = kept
        self._levels: OrderedDict[tuple[str, ...], tuple[float, float]] = OrderedDict()

    def take(self, key: tuple[str, ...], *, burst: float, per_second: float) -> bool:
        """Take one token; tell whether there was one."""
        now = self._clock()
        level, at = self._levels.pop(key, (burst, now))
        level = min(burst, level + (now - at) * per_second)
        allowed = level >= 1
        self._levels[key] = (level - 1 if allowed else level, now)
        if len(self._levels) > self._kept:
            self._levels.popitem(last=False)
        return allowed

    def clear(self) -> None:
        self._levels.clear()
