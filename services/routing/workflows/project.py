"""Follow the events: every conversation's state and every agent's presence, into Redis."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

from services.routing.model import Availability, Change, Presence
from services.routing.storage.installation import InstallationStore
from services.routing.storage.tenant import TenantStore
from shared.ids import new_id
from shared.observability.metrics import Metrics

READER = "routing"
_Item = TypeVar("_Item", Change, Presence | Availability)


class Projector:
    """Applies batches of events; all calls raise RedisAwayError and may be repeated.

    `wake` is called with each tenant that may have somebody to route now.
    """

    def __init__(
        self,
        stores: Callable[[str], TenantStore],
        installation: InstallationStore,
        *,
        wake: Callable[[Iterable[str]], None],
        clock: Callable[[], datetime],
        metrics: Metrics,
    ) -> None:
        self._stores = stores
        self._installation = installation
        self._wake = wake
        self._clock = clock
        self._metrics = metrics

    async def follow_conversations(self, changes: Sequence[Change]) -> None:
        """Take conversations' new states; who waits is looked at by the timer from then on."""
        waiting = []
        for tenant, mine in _by_tenant(changes).items():
            _, stale, waits = await self._stores(tenant).apply(mine)
            self._metrics.stale.labels(READER).inc(stale)
            if waits:
                waiting.append(tenant)
        # After the projection, never before: the timer drops a tenant where nobody waits.
        await self._installation.enlist(waiting, new_id())
        self._wake(waiting)

    async def follow_agents(self, events: Sequence[Presence | Availability]) -> None:
        """Take agents' presence and availability; free ones may take who waits."""
        tenants = set()
        for tenant, mine in _by_tenant(events).items():
            store = self._stores(tenant)
            seen = [one for one in mine if isinstance(one, Presence)]
            switched = [one for one in mine if isinstance(one, Availability)]
            if seen and await store.apply_presence(seen, self._clock()):
                tenants.add(tenant)
            if switched:
                await store.apply_availability(switched)
                tenants.add(tenant)
        self._wake(tenants)


def _by_tenant(items: Iterable[_Item]) -> dict[str, list[_Item]]:
    grouped: dict[str, list[_Item]] = defaultdict(list)
    for item in items:
        grouped[item.tenant].append(item)
    return grouped
