"""Limits of calls, for each principal and for its tenant as a whole, in this process's memory."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from services.inbox.decisions.rates import Heard, Rate, judge_call
from services.inbox.model.errors import RefusedError

_REMEMBERED = 50_000


class RateLimits:
    """A bucket each; None for a rate: no limit. The least lately used are forgotten first."""

    def __init__(
        self,
        *,
        principal: Rate | None,
        tenant: Rate | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._principal = principal
        self._tenant = tenant
        self._clock = clock
        self._full_at: OrderedDict[tuple[str, str], float] = OrderedDict()

    def count(self, tenant: str, principal: str) -> None:
        """Counts a call. Refuses with `rate_limited`; what is refused costs the tenant nothing."""
        if self._principal is not None:
            self._take((tenant, principal), self._principal)
        if self._tenant is not None:
            self._take((tenant, ""), self._tenant)

    def _take(self, key: tuple[str, str], rate: Rate) -> None:
        judged = judge_call(self._full_at.get(key, 0.0), rate, self._clock())
        if not isinstance(judged, Heard):
            raise RefusedError("rate_limited", retry_after=max(1, math.ceil(judged.seconds)))
        self._full_at[key] = judged.full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > _REMEMBERED:
            self._full_at.popitem(last=False)
