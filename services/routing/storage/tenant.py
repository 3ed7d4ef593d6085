"""One tenant's projection, slots and queues in Redis; all keys share the tenant's hash tag."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from services.routing.model import (
    AgentState,
    Availability,
    Change,
    Head,
    Park,
    Presence,
    Queue,
    Refusal,
    Reservation,
    Snapshot,
    Waiting,
)
from services.routing.storage.scripts import Scripts
from shared.redis.client import Argument, Call, RedisClient

CLOSED_KEPT = timedelta(days=30)
"""The version guard and the last agent outlive a chat as long as its events are on the topic."""
PRESENCE_FORGOTTEN = timedelta(seconds=180)
"""Three repeats missed: the state is unknown, and unknown is absent."""
CHANGES_PER_CALL = 200
NO_TEAM = "-"


class TenantStore:
    """Every call is one script: atomic, and repeated without harm.

    All raise RedisAwayError.
    """

    def __init__(self, redis: RedisClient, scripts: Scripts, tenant: str) -> None:
        if not tenant or "}" in tenant:
            raise ValueError("a tenant's id is not empty and has no brace")
        self.tenant = tenant
        self._redis = redis
        self._scripts = scripts
        self._keys = (f"{redis.prefix}routing:{{{tenant}}}:",)

    async def apply(self, changes: Sequence[Change]) -> tuple[int, int, bool]:
        """Take what is newer; returns how many were, how many were not, and if anybody waits."""
        applied, stale, waits = 0, 0, 0
        for start in range(0, len(changes), CHANGES_PER_CALL):
            args: list[Argument] = [int(CLOSED_KEPT.total_seconds())]
            for change in changes[start : start + CHANGES_PER_CALL]:
                args += _change(change)
            done = await self._redis.run(self._scripts.apply, self._keys, *args)
            applied, stale, waits = applied + done[0], stale + done[1], done[2]
        return applied, stale, bool(waits)

    async def apply_presence(self, events: Sequence[Presence], now: datetime) -> int:
        """Take what is not older; returns how many agents came or went."""
        args: list[Argument] = [_ms(now), _span_ms(PRESENCE_FORGOTTEN)]
        for one in events:
            args += (one.agent_id, one.sequence, int(one.present), _ms(one.at))
        changed: int = await self._redis.run(self._scripts.presence, self._keys, *args)
        return changed

    async def apply_availability(self, events: Sequence[Availability]) -> None:
        """Take what is newer by the agent's version."""
        args: list[Argument] = []
        for one in events:
            args += (one.agent_id, one.version, int(one.available))
        await self._redis.run(self._scripts.availability, self._keys, *args)

    def snapshot_call(
        self, agents: Sequence[str], now: datetime, turn: timedelta = timedelta(0)
    ) -> Call:
        """The call of `snapshot`, to send many tenants' in one round trip (`read_snapshot`)."""
        args: list[Argument] = [_ms(now), _span_ms(turn), *agents]
        return Call(self._scripts.snapshot, self._keys, args)

    async def snapshot(self, agents: Sequence[str], now: datetime) -> Snapshot:
        """Queues and agents as they are; expired reservations are given back before."""
        call = self.snapshot_call(agents, now)
        found = read_snapshot(
            agents, await self._redis.run(call.script, call.keys, *call.args), now
        )
        if found is None:
            raise RuntimeError("a snapshot without a turn has no rival")
        return found

    async def oldest(self, team: str | None, limit: int) -> list[Head]:
        """The first of a team's queue."""
        return await self._heads(f"q:{team or NO_TEAM}", limit)

    async def unrecorded(self, team: str | None, limit: int) -> list[Head]:
        """The first of a team's queue whose park record may be missing."""
        return await self._heads(_todo(team), limit)

    async def held_unrecorded(self, limit: int) -> list[Head]:
        """Those parked by hand whose record may be missing."""
        return await self._heads("heldtodo", limit)

    async def park_queue(self, team: str | None, reason: str) -> None:
        """From now on the team's queue is parked with this reason: others lack their record."""
        await self._redis.run(self._scripts.parking, self._keys, team or NO_TEAM, reason)

    async def park_recorded(self, heads: Sequence[Head], park: Park, team: str | None) -> None:
        """The records of these are on the topic."""
        todo = "heldtodo" if heads[0].waiting.held else _todo(team)
        args: list[Argument] = [todo, park.reason]
        for head in heads:
            args += (head.waiting.id, head.waiting.episode, head.waiting.epoch)
        await self._redis.run(self._scripts.recorded, self._keys, *args)

    async def lock_parking(self, token: str, span: timedelta) -> bool:
        """Whether this pod writes the tenant's park records now."""
        return bool(await self._redis.run(self._scripts.lock, self._keys, token, _span_ms(span)))

    async def unlock_parking(self, token: str) -> None:
        await self._redis.run(self._scripts.unlock, self._keys, token)

    async def reserve(
        self,
        conversation: Waiting,
        agent: str,
        *,
        capacity: int,
        payload: bytes,
        now: datetime,
        expires: datetime,
    ) -> Reservation | Refusal:
        """Keep one of the agent's slots for this conversation in this episode and epoch."""
        outcome, attempt = await self._redis.run(
            self._scripts.reserve,
            self._keys,
            _ms(now),
            _ms(expires),
            conversation.id,
            conversation.episode,
            conversation.epoch,
            agent,
            capacity,
            payload,
        )
        if outcome == b"ok":
            return Reservation(conversation.id, int(attempt), agent, payload)
        return Refusal(outcome.decode())

    async def unsent(self, before: datetime, limit: int) -> list[Reservation]:
        """Reservations made before that time whose record is not known to be on the topic."""
        found = await self._redis.run(self._scripts.unsent, self._keys, _ms(before), limit)
        return [
            Reservation(id_.decode(), int(attempt), agent.decode(), payload)
            for id_, attempt, agent, payload in found
        ]

    async def sent(self, reservations: Iterable[Reservation]) -> None:
        """Their records are on the topic."""
        args: list[Argument] = []
        for one in reservations:
            args += (one.conversation_id, one.attempt)
        await self._redis.run(self._scripts.confirm, self._keys, *args)

    async def begin_rebuild(self, token: str, *, stop: bool) -> int:
        """Start a generation; with `stop` nothing is routed until `finish_rebuild`."""
        generation: int = await self._redis.run(
            self._scripts.begin, self._keys, token, "1" if stop else "0"
        )
        return generation

    async def finish_rebuild(self, token: str, generation: int) -> int | None:
        """Close what nobody saw since the start; returns how many.

        None: Redis lost the start, or another rebuild began: nothing is built by this one.
        """
        done: int = await self._redis.run(
            self._scripts.finish,
            self._keys,
            token,
            generation,
            int(CLOSED_KEPT.total_seconds()),
        )
        return done - 1 if done else None

    async def _heads(self, key: str, limit: int) -> list[Head]:
        if limit <= 0:
            return []
        found = await self._redis.run(self._scripts.heads, self._keys, key, limit)
        return [_head(row) for row in found]


def read_snapshot(agents: Sequence[str], answer: Sequence[Any], now: datetime) -> Snapshot | None:
    """The answer to `TenantStore.snapshot_call`; None when another pod's timer has the turn."""
    if answer[0] == b"turn":
        return None
    if answer[0] == b"0":
        return Snapshot(built=False)
    _, queues, counts, loads, presence, availability, turns = answer
    held, reserved, unsent = counts
    return Snapshot(
        built=True,
        queues=[
            Queue(_team(team), waiting, unrecorded, reason.decode() or None)
            for team, waiting, unrecorded, reason in queues
        ],
        held_unrecorded=held,
        reserved=reserved,
        unsent=unsent,
        agents={
            agent: _agent(loads[i], presence[i], availability[i], turns[i], now)
            for i, agent in enumerate(agents)
        },
    )


def _agent(
    load: int, presence: bytes, availability: bytes, turn: bytes, now: datetime
) -> AgentState:
    connected, gone = False, None
    if presence:
        _, present, since, seen = presence.split(b"|")
        fresh = _ms(now) - int(seen) < _span_ms(PRESENCE_FORGOTTEN)
        connected = fresh and present == b"1"
        gone = None if present == b"1" else _time(since)
    told = None
    if availability:
        version, available = availability.split(b"|")
        told = (int(version), available == b"1")
    return AgentState(load, connected, gone, told, int(turn))


def _change(change: Change) -> tuple[Argument, ...]:
    since = change.waiting_since
    return (
        change.id,
        change.version,
        change.status,
        change.episode,
        change.epoch,
        change.assignee or "",
        change.team or NO_TEAM,
        _ms(since) if since is not None else 0,
        str(int(change.held)),
        change.previous or "",
        str(int(change.listed)),
    )


def _head(row: Sequence[bytes]) -> Head:
    id_, episode, epoch, team, since, last, parked, attempt, held = row
    return Head(
        Waiting(
            id=id_.decode(),
            episode=int(episode),
            epoch=int(epoch),
            team=_team(team),
            waiting_since=_time(since),
            last_agent=last.decode() or None,
            held=held == b"1",
        ),
        parked.decode(),
        int(attempt),
    )


def _todo(team: str | None) -> str:
    return f"todo:{team or NO_TEAM}"


def _team(raw: bytes) -> str | None:
    name = raw.decode()
    return None if name == NO_TEAM else name


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _span_ms(span: timedelta) -> int:
    return int(span.total_seconds() * 1000)


def _time(raw: bytes) -> datetime:
    return datetime.fromtimestamp(int(raw) / 1000, UTC)
