"""How many conversations somebody sees in each view: exactly, and without counting a million.

What is open, On Hold or the bot's is few, and counted. What is closed is all the rest of the
tenant: what was ever made less what was deleted. Both only grow, in the order of time, so what is
long past is counted once and kept, and each call counts the last minutes alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from services.inbox.decisions.lifecycle import Refusal, Viewer
from services.inbox.decisions.listing import SNOOZABLE, Filters, Scope, counted, select
from services.inbox.storage.counting import CountStore, before, between, since
from shared.contracts.views import Status

SETTLED_AFTER: Final = timedelta(minutes=10)
"""Longer than a write takes from its clock to MongoDB, and than clocks differ."""
SEALED_EVERY: Final = timedelta(minutes=10)
COUNTED_ANEW_EVERY: Final = timedelta(hours=1)
"""From the beginning: what was written later than `SETTLED_AFTER` is missing until then."""
_VIEWS: Final = (Status.OPEN, Status.ON_HOLD, Status.CLOSED, Status.BOT)


@dataclass(frozen=True, slots=True)
class _Sealed:
    """How many a tenant had before `until`; `since`: when that was counted from the beginning."""

    until: datetime
    kept: int
    since: datetime


class Counting:
    """Counts are those of the moment; `snoozed` chats are counted apart."""

    def __init__(self, store: CountStore, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._sealed: dict[str, _Sealed] = {}

    async def counts(self, viewer: Viewer) -> dict[str, int]:
        """In each view; `unread`: of the open and On Hold ones.

        Who is snoozed is counted apart: all less those, so that the indexes alone answer.
        """
        scope = Scope.ALL if viewer.supervises else Scope.MINE
        everything = [Filters(view, scope, snoozed=None) for view in _VIEWS]
        unread = [replace(each, unread=True) for each in everything if each.view in SNOOZABLE]
        asleep = [
            replace(each, snoozed=True) for each in (*everything, *unread) if each.view in SNOOZABLE
        ]
        rest = viewer.supervises
        asked = [
            each for each in (*everything, *unread) if each.view is not Status.CLOSED or not rest
        ]
        # What leaves a view while this counts was made before it: first the views, then the whole.
        found = await self._counted(asked, viewer)
        if await self._store.any_asleep(viewer.tenant, self._clock()):
            found |= await self._counted(asleep, viewer)
        if rest:
            there = sum(found[each] for each in everything if each in found)
            closed = Filters(Status.CLOSED, scope, snoozed=None)
            found[closed] = max(0, await self._kept(viewer.tenant) - there)

        def awake(filters: Filters) -> int:
            return max(0, found[filters] - found.get(replace(filters, snoozed=True), 0))

        named = {each.view.value: awake(each) for each in everything}
        snoozed = sum(found.get(each, 0) for each in asleep if each.unread is None)
        return {**named, "unread": sum(map(awake, unread)), "snoozed": snoozed}

    async def _counted(self, asked: Sequence[Filters], viewer: Viewer) -> dict[Filters, int]:
        numbers = await asyncio.gather(*(self._count(each, viewer) for each in asked))
        return dict(zip(asked, numbers, strict=True))

    async def _count(self, filters: Filters, viewer: Viewer) -> int:
        selection = select(filters, viewer, None, self._clock())
        if selection is None or isinstance(selection, Refusal):
            return 0
        parts = counted(selection.query)
        numbers = await asyncio.gather(*(self._store.count(query, at) for _, at, query in parts))
        return max(0, sum(sign * n for (sign, _, _), n in zip(parts, numbers, strict=True)))

    # -- all of a tenant

    async def _kept(self, tenant: str) -> int:
        """All of a tenant that are not deleted."""
        sealed = await self._seal(tenant)
        made, deleted = await asyncio.gather(
            self._store.made(tenant, since(sealed.until)),
            self._store.deleted(tenant, since(sealed.until)),
        )
        return sealed.kept + made - deleted

    async def _seal(self, tenant: str) -> _Sealed:
        now = self._clock()
        sealed = self._sealed.get(tenant)
        if sealed is not None and now - sealed.until < SETTLED_AFTER + SEALED_EVERY:
            return sealed
        until = now - SETTLED_AFTER
        if sealed is None or now - sealed.since >= COUNTED_ANEW_EVERY:
            span, kept, start = before(until), 0, now
        else:
            span, kept, start = between(sealed.until, until), sealed.kept, sealed.since
        made, deleted = await asyncio.gather(
            self._store.made(tenant, span), self._store.deleted(tenant, span)
        )
        self._sealed[tenant] = after = _Sealed(until, kept + made - deleted, start)
        return after
