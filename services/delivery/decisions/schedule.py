"""Which record goes next: chats in order, numbers apart from each other, tenants in turn.

Everything is in memory and told the time; nothing here waits. A *lane* is one chat: its records
by `seq`, of which only the first may be under way. A *gate* is one number: its rate, its stops,
and the lanes that are ready. Tenants take turns by deficit round robin, the numbers of a tenant
one after the other. A lane, gate or tenant that cannot go now is in no queue: a timer or an event
brings it back, so that what is blocked costs the others nothing.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from services.delivery.decisions.limits import Bucket, NumberRate, pair_bucket
from services.delivery.model import SendRecord

QUANTUM = 8.0
FILE_COST = 4.0
"""A send with a file costs its tenant as many turns as four texts."""
_PRUNE_PAIRS_AT = 10_000


@dataclass(slots=True)
class Item:
    """A record in its lane; `due` on the monotonic clock."""

    record: SendRecord
    due: float = 0.0


@dataclass(slots=True, eq=False)
class Lane:
    key: tuple[str, str]
    gate: Gate
    partition: int
    heap: list[tuple[int, int, str]] = field(default_factory=list)
    busy: str | None = None
    queued: bool = False

    @property
    def head(self) -> str:
        return self.heap[0][2]


@dataclass(slots=True, eq=False)
class Gate:
    tenant: Turn
    number_id: str
    rate: NumberRate
    ready: deque[Lane] = field(default_factory=deque)
    known: bool = False
    stopped: bool = False
    held_until: float = 0.0
    wakes_at: float = 0.0
    in_flight: int = 0
    queued: bool = False


@dataclass(slots=True, eq=False)
class Turn:
    """A tenant's place in the round."""

    tenant: str
    gates: deque[Gate] = field(default_factory=deque)
    deficit: float = 0.0
    suspended: bool = False
    in_flight: int = 0
    queued: bool = False


@dataclass(frozen=True, slots=True)
class Caps:
    """How many sends may be under way at once; a slow number then never takes it all."""

    total: int = 2048
    tenant: int = 1024
    number: int = 256


class Schedule:
    """See the module. `take` hands records out; each comes back by one of the later methods."""

    def __init__(self, *, full_rate: float, caps: Caps | None = None) -> None:
        self._full_rate = full_rate
        self._share = 1.0
        self._caps = caps or Caps()
        self._items: dict[str, Item] = {}
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._lane_of: dict[str, Lane] = {}
        self._gates: dict[tuple[str, str], Gate] = {}
        self._turns: dict[str, Turn] = {}
        self._round: deque[Turn] = deque()
        self._timers: list[tuple[float, int, Lane | Gate]] = []
        self._order = itertools.count()
        self._pairs: dict[tuple[str, str], Bucket] = {}
        self._under_way: dict[str, Gate] = {}

    # --- What there is to send ---

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, record_id: str) -> bool:
        return record_id in self._items

    @property
    def under_way(self) -> int:
        return len(self._under_way)

    def record(self, record_id: str) -> SendRecord | None:
        """The record as it was last offered or changed."""
        item = self._items.get(record_id)
        return None if item is None else item.record

    def offer(self, record: SendRecord, now: float, due: float = 0.0) -> bool:
        """Add an open record that nobody works on; False when it is already here."""
        if record.id in self._items:
            return False
        key = (record.tenant, record.conversation_id)
        lane = self._lanes.get(key)
        if lane is None:
            gate = self._gate(record.tenant, record.number_id, now)
            lane = self._lanes[key] = Lane(key, gate, record.partition)
        self._items[record.id] = Item(record, due)
        self._lane_of[record.id] = lane
        heapq.heappush(lane.heap, (record.seq, record.base, record.id))
        self._enqueue(lane, now)
        return True

    def replace(self, record: SendRecord, now: float, due: float = 0.0) -> None:
        """Its lane's first record is open again, in this state: it may be taken from `due` on."""
        item = self._items.get(record.id)
        if item is None:
            self._land(record.id, now)
            return
        item.record, item.due = record, due
        self._idle(record.id, now)

    def remove(self, record_id: str, now: float) -> None:
        """The record ended, or is not there any more: its lane goes on."""
        self._land(record_id, now)
        lane = self._lane_of.pop(record_id, None)
        if lane is None:
            return
        del self._items[record_id]
        if lane.busy == record_id:
            lane.busy = None
        if lane.head == record_id:
            heapq.heappop(lane.heap)
        else:  # a resend of an earlier message came while this one was under way
            lane.heap = [entry for entry in lane.heap if entry[2] != record_id]
            heapq.heapify(lane.heap)
        if lane.heap:
            self._enqueue(lane, now)
        else:
            del self._lanes[lane.key]

    def block(self, record_id: str) -> None:
        """Somebody else works on this record: nothing of its lane until `replace` or `remove`."""
        lane = self._lane_of.get(record_id)
        if lane is not None:
            lane.busy = record_id

    def drop(self, partitions: Iterable[int]) -> None:
        """Forget the lanes of these partitions; what is under way stays counted until it lands."""
        gone = frozenset(partitions)
        for key, lane in list(self._lanes.items()):
            if lane.partition not in gone:
                continue
            for _, _, record_id in lane.heap:
                del self._items[record_id]
                del self._lane_of[record_id]
            lane.heap = []
            del self._lanes[key]

    def forget_flights(self, now: float) -> None:
        """Nothing is under way any more: whoever took the records is gone."""
        for record_id in list(self._under_way):
            self._land(record_id, now)

    # --- What may go ---

    def take(self, now: float, limit: int) -> list[SendRecord]:
        """The records to send now, at most `limit`; each lane gives one and is busy from then."""
        self._ring(now)
        limit = min(limit, self._caps.total - len(self._under_way))
        taken: list[SendRecord] = []
        while self._round and len(taken) < limit:
            turn = self._round[0]
            if turn.deficit <= 0:
                turn.deficit += QUANTUM
            while turn.gates and turn.deficit > 0 and len(taken) < limit:
                if turn.in_flight >= self._caps.tenant or turn.suspended:
                    break
                record = self._next(turn, now)
                if record is not None:
                    turn.deficit -= 1.0 if record.media is None else FILE_COST
                    taken.append(record)
            if not turn.gates or turn.in_flight >= self._caps.tenant or turn.suspended:
                self._round.popleft()
                turn.queued = False
                turn.deficit = min(turn.deficit, 0.0)
            elif turn.deficit <= 0:
                self._round.rotate(-1)
        return taken

    def next_due(self) -> float | None:
        """When `take` may give something that it does not give now."""
        return self._timers[0][0] if self._timers else None

    # --- What happened ---

    def hold_pair(self, record: SendRecord, now: float) -> None:
        """Meta counted this pair otherwise: its bucket is empty."""
        self._pair(record, now).empty(now)

    def slow_down(self, tenant: str, number_id: str, now: float) -> None:
        self._gate(tenant, number_id, now).rate.halve(now)

    def hold_number(self, tenant: str, number_id: str, until: float, now: float) -> None:
        gate = self._gate(tenant, number_id, now)
        gate.held_until = max(gate.held_until, until)

    def set_number(
        self,
        tenant: str,
        number_id: str,
        now: float,
        *,
        known: bool | None = None,
        stopped: bool | None = None,
        full_rate: float | None = None,
    ) -> None:
        """Whether a number has credentials, whether it is stopped, what its rate is."""
        gate = self._gate(tenant, number_id, now)
        if known is not None:
            gate.known = known
        if stopped is not None:
            gate.stopped = stopped
        if full_rate is not None:
            gate.rate.configure(full_rate, self._share, now)
        gate.wakes_at = 0.0
        self._enqueue_gate(gate, now)

    def used_numbers(self) -> list[tuple[str, str]]:
        """(tenant, number) of the numbers that have something to send."""
        return [key for key, gate in self._gates.items() if gate.ready or gate.in_flight]

    def is_stopped(self, tenant: str, number_id: str) -> bool:
        gate = self._gates.get((tenant, number_id))
        return gate is not None and (gate.stopped or gate.tenant.suspended)

    def is_suspended(self, tenant: str) -> bool:
        turn = self._turns.get(tenant)
        return turn is not None and turn.suspended

    def set_suspended(self, tenant: str, now: float, *, suspended: bool) -> None:
        turn = self._turn(tenant)
        turn.suspended = suspended
        for gate in self._gates.values():
            if gate.tenant is turn:
                self._enqueue_gate(gate, now)
        self._enqueue_turn(turn)

    def set_share(self, share: float, now: float) -> None:
        """The share of all partitions that this pod owns."""
        self._share = share
        for gate in self._gates.values():
            gate.rate.configure(gate.rate.full, share, now)

    # --- Inside ---

    def _next(self, turn: Turn, now: float) -> SendRecord | None:
        """One record of the tenant's next number, or None after taking away what cannot go."""
        gate = turn.gates[0]
        if not self._open(gate, now) or not gate.ready:
            turn.gates.popleft()
            gate.queued = False
            return None
        lane = gate.ready[0]
        if not lane.heap or lane.busy is not None:
            gate.ready.popleft()
            lane.queued = False
            return None
        item = self._items[lane.head]
        wait = max(item.due, self._pair(item.record, now).next_at(now))
        if wait > now:
            gate.ready.popleft()
            lane.queued = False
            self._at(wait, lane)
            return None
        if not gate.rate.take(now):
            turn.gates.popleft()
            gate.queued = False
            self._sleep(gate, gate.rate.next_at(now))
            return None
        self._pair(item.record, now).take(now)
        gate.ready.popleft()
        lane.queued = False
        lane.busy = item.record.id
        gate.in_flight += 1
        turn.in_flight += 1
        self._under_way[item.record.id] = gate
        turn.gates.rotate(-1)
        return item.record

    def _open(self, gate: Gate, now: float) -> bool:
        if gate.held_until > now:
            self._sleep(gate, gate.held_until)
            return False
        return gate.known and not gate.stopped and gate.in_flight < self._caps.number

    def _idle(self, record_id: str, now: float) -> None:
        self._land(record_id, now)
        lane = self._lane_of.get(record_id)
        if lane is not None and lane.heap:
            if lane.busy == record_id:
                lane.busy = None
            self._enqueue(lane, now)

    def _land(self, record_id: str, now: float) -> None:
        gate = self._under_way.pop(record_id, None)
        if gate is None:
            return
        gate.in_flight -= 1
        gate.tenant.in_flight -= 1
        self._enqueue_gate(gate, now)
        self._enqueue_turn(gate.tenant)

    def _enqueue(self, lane: Lane, now: float) -> None:
        if lane.busy is not None or lane.queued or not lane.heap:
            return
        due = self._items[lane.head].due
        if due > now:
            self._at(due, lane)
            return
        lane.queued = True
        lane.gate.ready.append(lane)
        self._enqueue_gate(lane.gate, now)

    def _enqueue_gate(self, gate: Gate, now: float) -> None:
        if gate.queued or not gate.ready or gate.wakes_at > now or not self._open(gate, now):
            return
        gate.queued = True
        gate.tenant.gates.append(gate)
        self._enqueue_turn(gate.tenant)

    def _enqueue_turn(self, turn: Turn) -> None:
        if turn.queued or turn.suspended or not turn.gates:
            return
        if turn.in_flight < self._caps.tenant:
            turn.queued = True
            self._round.append(turn)

    def _ring(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            _, _, what = heapq.heappop(self._timers)
            if isinstance(what, Lane):
                self._enqueue(what, now)
            else:
                self._enqueue_gate(what, now)

    def _sleep(self, gate: Gate, until: float) -> None:
        if gate.wakes_at < until:
            gate.wakes_at = until
            self._at(until, gate)

    def _at(self, when: float, what: Lane | Gate) -> None:
        heapq.heappush(self._timers, (when, next(self._order), what))

    def _turn(self, tenant: str) -> Turn:
        return self._turns.setdefault(tenant, Turn(tenant))

    def _gate(self, tenant: str, number_id: str, now: float) -> Gate:
        gate = self._gates.get((tenant, number_id))
        if gate is None:
            rate = NumberRate(self._full_rate, self._share, now)
            gate = self._gates[tenant, number_id] = Gate(self._turn(tenant), number_id, rate)
        return gate

    def _pair(self, record: SendRecord, now: float) -> Bucket:
        key = (record.number_id, record.recipient.identity)
        bucket = self._pairs.get(key)
        if bucket is None:
            if len(self._pairs) >= _PRUNE_PAIRS_AT:
                self._prune(now)
            bucket = self._pairs[key] = pair_bucket(now)
        return bucket

    def _prune(self, now: float) -> None:
        # A full bucket is as good as none.
        full = [key for key, bucket in self._pairs.items() if bucket.is_full(now)]
        for key in full:
            del self._pairs[key]
