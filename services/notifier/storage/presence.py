"""Agents' sockets in Redis, and which tickets were used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from services.notifier.model import PresenceState
from services.notifier.storage.feed import FeedKeys
from services.notifier.storage.scripts import CLAIM_DUE, PRESENCE
from shared.redis.client import Call, RedisClient, guarded

BEATS = 3
"""A socket expires when this many heartbeats of it are missed."""
_CLAIM_LEASE_MS = 10_000
_TICKET_TTL_SECONDS = 120
What = Literal["join", "beat", "leave", "look"]


@dataclass(frozen=True, slots=True)
class Beat:
    """The sockets of one agent that a pod keeps alive."""

    tenant: str
    agent: str
    sockets: tuple[str, ...]


class PresenceStore:
    """The truth about who has sockets anywhere; any pod may settle what a dead one left."""

    def __init__(self, redis: RedisClient, *, heartbeat: timedelta, limit: int) -> None:
        self._redis = redis
        self._ttl_ms = int(heartbeat.total_seconds() * 1000) * BEATS
        self._limit = limit
        self._due = f"{redis.prefix}presence:due"

    async def join(self, tenant: str, agent: str, socket: str) -> PresenceState:
        """Add a socket, unless the agent has too many (`refused`)."""
        await self._remember([(tenant, agent)])
        return await self._one("join", tenant, agent, (socket,))

    async def leave(self, tenant: str, agent: str, socket: str) -> PresenceState:
        """Take a socket away."""
        return await self._one("leave", tenant, agent, (socket,))

    async def look(self, tenant: str, agent: str) -> PresenceState:
        """Expire dead sockets."""
        return await self._one("look", tenant, agent, ())

    async def beat(self, beats: Sequence[Beat]) -> list[PresenceState]:
        """Keep sockets alive, in one round trip."""
        if not beats:
            return []
        await self._remember([(beat.tenant, beat.agent) for beat in beats])
        answers = await self._redis.run_all(
            [self._call("beat", beat.tenant, beat.agent, beat.sockets) for beat in beats]
        )
        return [
            _state(beat.tenant, beat.agent, answer)
            for beat, answer in zip(beats, answers, strict=True)
        ]

    async def claim_due(self, limit: int) -> list[tuple[str, str]]:
        """Agents whose state is to be looked at and repeated, each given to one pod."""
        found = await self._redis.run(CLAIM_DUE, (self._due,), limit, _CLAIM_LEASE_MS)
        return [_split(member) for member in found]

    async def due_again(self, tenant: str, agent: str, when: float | None) -> None:
        """Look at an agent again at `when` (seconds since 1970), or never."""
        member = f"{tenant}/{agent}"
        with guarded():
            if when is None:
                await self._redis.raw.zrem(self._due, member)
            else:
                await self._redis.raw.zadd(self._due, {member: int(when * 1000)})

    async def use_ticket(self, tenant: str, token_id: str) -> bool:
        """Whether this is the ticket's first use."""
        key = FeedKeys(self._redis.prefix, tenant).ticket(token_id)
        with guarded():
            return bool(await self._redis.raw.set(key, b"", nx=True, ex=_TICKET_TTL_SECONDS))

    async def _remember(self, agents: Sequence[tuple[str, str]]) -> None:
        # Before the socket is there: a pod that dies in between leaves a look too much.
        with guarded():
            seconds, micros = await self._redis.raw.time()
            when = seconds * 1000 + micros // 1000 + self._ttl_ms
            await self._redis.raw.zadd(
                self._due, {f"{tenant}/{agent}": when for tenant, agent in agents}, nx=True
            )

    async def _one(
        self, what: What, tenant: str, agent: str, sockets: Sequence[str]
    ) -> PresenceState:
        call = self._call(what, tenant, agent, sockets)
        return _state(tenant, agent, await self._redis.run(call.script, call.keys, *call.args))

    def _call(self, what: What, tenant: str, agent: str, sockets: Sequence[str]) -> Call:
        keys = FeedKeys(self._redis.prefix, tenant)
        return Call(
            PRESENCE,
            (keys.sockets(agent), keys.presence),
            (agent, what, self._ttl_ms, self._limit, *sockets),
        )


def _split(member: bytes) -> tuple[str, str]:
    tenant, agent = member.decode().split("/", 1)
    return tenant, agent


def _state(tenant: str, agent: str, answer: list[Any]) -> PresenceState:
    present, counter, since, changed, refused, expiry = answer
    return PresenceState(
        tenant=tenant,
        agent=agent,
        present=bool(present),
        counter=int(counter),
        since=int(since) / 1000,
        changed=bool(changed),
        refused=bool(refused),
        expires_at=float(expiry) / 1000,
    )
