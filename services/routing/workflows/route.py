"""Give who waits to who is free, oldest first, and record why the others wait."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from services.routing.decisions import candidate_of, decide, decide_queue, free_slots, in_reach
from services.routing.gateways import DecisionLog, to_payload
from services.routing.model import (
    Assign,
    Candidate,
    Head,
    Park,
    Queue,
    Refusal,
    Reservation,
    Roster,
    Snapshot,
)
from services.routing.storage.tenant import TenantStore
from shared.contracts.directory import Policy
from shared.ids import new_id
from shared.observability.metrics import Metrics

log = structlog.get_logger()

ASSIGNED_PER_PASS = 100
"""Decisions of one tenant before others get their turn."""
PARKING_LOCKED = timedelta(seconds=10)
"""Longer than a publish may take."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`reservation`: how long a slot is kept; `repeat_after`: when a missing ack is a lost one."""

    reservation: timedelta
    repeat_after: timedelta
    parks: int


class RouteTenant:
    """Routes one tenant from a snapshot. Raises RedisAwayError and PublishError."""

    def __init__(
        self,
        stores: Callable[[str], TenantStore],
        decisions: DecisionLog,
        limits: Limits,
        *,
        clock: Callable[[], datetime],
        metrics: Metrics,
    ) -> None:
        self._stores = stores
        self._decisions = decisions
        self._limits = limits
        self._clock = clock
        self._metrics = metrics

    async def __call__(self, tenant: str, roster: Roster, snapshot: Snapshot) -> bool:
        """Whether there is more to do at once."""
        if not snapshot.built or not roster.active:
            return False
        store = self._stores(tenant)
        now = self._clock()
        if snapshot.unsent:
            await self._repeat(store, now)
        bench = _Bench(roster, snapshot)
        taken = await self._assign(store, roster.policy, snapshot, bench, now)
        parks: list[tuple[Queue, Park]] = []
        more = False
        for queue in snapshot.queues:
            if queue.waiting <= taken.get(queue.team, 0):
                continue
            park = decide_queue(queue.team, roster.policy, bench.of(queue.team), now)
            if park is None:
                # Somebody is free still: the pass was full, or who was picked waits no more.
                more = more or bool(taken)
            elif queue.unrecorded or queue.reason != park.reason:
                parks.append((queue, park))
        if parks or snapshot.held_unrecorded:
            await self._record_parks(store, roster.policy, snapshot, parks, now)
        return more

    async def _assign(
        self,
        store: TenantStore,
        policy: Policy,
        snapshot: Snapshot,
        bench: _Bench,
        now: datetime,
    ) -> dict[str | None, int]:
        heads: list[Head] = []
        if policy.strategy != "manual":
            for queue in snapshot.queues:
                slots = free_slots(queue.team, bench.of(queue.team), policy, now)
                heads += await store.oldest(queue.team, min(slots, ASSIGNED_PER_PASS))
        heads.sort(key=lambda head: (head.waiting.waiting_since, head.waiting.id))
        reserved: list[Reservation] = []
        taken: dict[str | None, int] = {}
        for head in heads[:ASSIGNED_PER_PASS]:
            outcome = await self._reserve(store, policy, head, bench, now)
            if outcome is Refusal.UNBUILT:
                break
            if isinstance(outcome, Reservation):
                reserved.append(outcome)
            if outcome is not None:
                taken[head.waiting.team] = taken.get(head.waiting.team, 0) + 1
        if reserved:
            await self._publish(store, reserved)
            log.info("routing.assigned", tenant=store.tenant, conversations=len(reserved))
        return taken

    async def _reserve(
        self, store: TenantStore, policy: Policy, head: Head, bench: _Bench, now: datetime
    ) -> Reservation | Refusal | None:
        """None: nobody is free for it."""
        while True:
            decision = decide(head.waiting, policy, bench.of(head.waiting.team), now)
            if not isinstance(decision, Assign):
                return None
            outcome = await store.reserve(
                head.waiting,
                decision.agent_id,
                capacity=bench.capacity(decision.agent_id),
                payload=to_payload(head.waiting, decision, now),
                now=now,
                expires=now + self._limits.reservation,
            )
            if outcome is Refusal.FULL:
                bench.fill(decision.agent_id)
                continue
            if isinstance(outcome, Reservation):
                bench.give(decision.agent_id)
                self._metrics.decisions.labels("assign", decision.reason).inc()
                waited = (now - head.waiting.waiting_since).total_seconds()
                self._metrics.decision_seconds.observe(max(0.0, waited))
            return outcome

    async def _repeat(self, store: TenantStore, now: datetime) -> None:
        # A crash or a broker outage between reservation and produce.
        lost = await store.unsent(now - self._limits.repeat_after, ASSIGNED_PER_PASS)
        if lost:
            await self._publish(store, lost)
            log.warning("routing.repeated", tenant=store.tenant, conversations=len(lost))

    async def _publish(self, store: TenantStore, reservations: Sequence[Reservation]) -> None:
        await self._decisions.assigned(store.tenant, reservations)
        await store.sent(reservations)

    async def _record_parks(
        self,
        store: TenantStore,
        policy: Policy,
        snapshot: Snapshot,
        parks: Sequence[tuple[Queue, Park]],
        now: datetime,
    ) -> None:
        # Pods that are woken together would each write the same records; the timer comes for
        # what is left by the one that has no turn here.
        token = new_id()
        if not await store.lock_parking(token, PARKING_LOCKED):
            return
        try:
            if snapshot.held_unrecorded:
                heads = await store.held_unrecorded(self._limits.parks)
                park = decide(heads[0].waiting, policy, (), now) if heads else None
                if isinstance(park, Park):
                    await self._record_park(store, park, heads, None, now)
            for queue, park in parks:
                if queue.reason != park.reason:
                    await store.park_queue(queue.team, park.reason)
                heads = await store.unrecorded(queue.team, self._limits.parks)
                await self._record_park(store, park, heads, queue.team, now)
        finally:
            await store.unlock_parking(token)

    async def _record_park(
        self,
        store: TenantStore,
        park: Park,
        heads: Sequence[Head],
        team: str | None,
        now: datetime,
    ) -> None:
        if not heads:
            return
        missing = [head for head in heads if head.parked != park.reason]
        if missing:
            await self._decisions.parked(store.tenant, park, missing, now)
            self._metrics.decisions.labels("park", park.reason).inc(len(missing))
            log.info("routing.parked", tenant=store.tenant, conversations=len(missing))
        # After the records: a crash in between repeats them instead of losing them.
        await store.park_recorded(heads, park, team)


class _Bench:
    """The agents of a pass, with the slots that it has already given away."""

    def __init__(self, roster: Roster, snapshot: Snapshot) -> None:
        self._candidates = {
            agent.id: candidate_of(agent, snapshot.agents.get(agent.id))
            for agent in roster.agents.values()
        }
        self._reach: dict[str | None, list[str]] = {}
        self._turn = max((one.turn for one in self._candidates.values()), default=0)

    def of(self, team: str | None) -> list[Candidate]:
        """The candidates for a team's chats."""
        reach = self._reach.get(team)
        if reach is None:
            reach = [id_ for id_, one in self._candidates.items() if in_reach(one, team)]
            self._reach[team] = reach
        return [self._candidates[id_] for id_ in reach]

    def capacity(self, agent: str) -> int:
        return self._candidates[agent].capacity

    def give(self, agent: str) -> None:
        self._turn += 1
        one = self._candidates[agent]
        self._candidates[agent] = replace(one, load=one.load + 1, turn=self._turn)

    def fill(self, agent: str) -> None:
        """Somebody else took the last slot."""
        one = self._candidates[agent]
        self._candidates[agent] = replace(one, load=one.capacity)
