"""Agents come and go: their sockets in Redis, the events of it on Kafka."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

import orjson
import structlog

from services.notifier.model import PresenceState
from services.notifier.storage.presence import Beat, PresenceStore
from shared.contracts.envelope import Envelope, timestamp
from shared.contracts.errors import TransientError
from shared.contracts.events import EventType
from shared.contracts.records import OutRecord
from shared.contracts.topics import AGENT_EVENTS
from shared.kafka.publisher import Publisher

log = structlog.get_logger()

_SWEEP_SECONDS = 2.0
_CLAIM = 200
# How long an absence is repeated, for readers that lost what they knew.
_ABSENCE_TOLD = timedelta(minutes=10)


def presence_record(state: PresenceState) -> OutRecord:
    """The event of a state; a repeated state gives the same bytes."""
    at = timestamp(datetime.fromtimestamp(state.since, UTC))
    return OutRecord(
        AGENT_EVENTS,
        state.agent.encode(),
        orjson.dumps({"agent_id": state.agent, "present": state.present, "at": at}),
        Envelope(
            id=f"{state.agent}:presence:{state.counter}",
            type=EventType.AGENT_PRESENCE.value,
            source="notifier",
            time=at,
            tenant=state.tenant,
            subject=state.agent,
            sequence=state.counter,
        ).headers(),
    )


class Presence:
    """Keeps this pod's sockets alive, expires those of dead pods, and tells transitions.

    The grace after the last socket is routing's: here a socket is there or it is not.
    """

    def __init__(
        self,
        store: PresenceStore,
        publisher: Publisher,
        *,
        heartbeat: timedelta,
        repeat: timedelta,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._heartbeat = heartbeat.total_seconds()
        self._repeat = repeat.total_seconds()
        self._untold: asyncio.Queue[PresenceState | None] = asyncio.Queue()
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.sockets: Callable[[], Iterable[Beat]] = tuple

    async def start(self) -> None:
        """Begin to beat, sweep and tell."""
        self._tasks = [
            asyncio.create_task(self._beat_on(), name="presence heartbeat"),
            asyncio.create_task(self._sweep_on(), name="presence sweep"),
            asyncio.create_task(self._tell_on(), name="presence events"),
        ]

    async def aclose(self) -> None:
        """Tell what is still untold, then stop."""
        # Not cancelled: redis-py loses a connection whose command is cancelled at a bad moment.
        self._stopping.set()
        self._untold.put_nowait(None)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def join(self, tenant: str, agent: str, socket: str) -> bool:
        """Whether the agent may have one more socket. Raises RedisAwayError."""
        state = await self._store.join(tenant, agent, socket)
        self._note(state)
        return not state.refused

    async def leave(self, tenant: str, agent: str, socket: str) -> None:
        """A socket is gone. While Redis is away, its expiry does it."""
        with contextlib.suppress(TransientError):
            self._note(await self._store.leave(tenant, agent, socket))

    def _note(self, state: PresenceState) -> None:
        if state.changed:
            self._untold.put_nowait(state)

    async def _paused(self, seconds: float) -> bool:
        """Wait a while, with jitter; False when it is time to stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds * random.uniform(0.8, 1.0)):  # noqa: S311 - jitter
                await self._stopping.wait()
        return not self._stopping.is_set()

    async def _beat_on(self) -> None:
        while await self._paused(self._heartbeat):
            try:
                for state in await self._store.beat(list(self.sockets())):
                    self._note(state)
            except TransientError as error:
                log.warning("presence.beat_failed", error=str(error))

    async def _sweep_on(self) -> None:
        while await self._paused(_SWEEP_SECONDS):
            try:
                await self.sweep()
            except TransientError as error:
                log.warning("presence.sweep_failed", error=str(error))

    async def sweep(self) -> None:
        """Look at every agent that is due, tell their state, and say when to look again."""
        states = [
            await self._store.look(tenant, agent)
            for tenant, agent in await self._store.claim_due(_CLAIM)
        ]
        await self._publisher.publish([presence_record(s) for s in states if s.counter])
        for state in states:
            await self._store.due_again(state.tenant, state.agent, self._next_look(state))

    def _next_look(self, state: PresenceState) -> float | None:
        now = time.time()
        if state.present:
            return min(state.expires_at, now + self._repeat)
        if now - state.since < _ABSENCE_TOLD.total_seconds():
            return now + self._repeat
        return None

    async def _tell_on(self) -> None:
        going = True
        while going:
            states = [await self._untold.get()]
            while not self._untold.empty():
                states.append(self._untold.get_nowait())
            going = None not in states
            await self._tell([state for state in states if state is not None])

    async def _tell(self, states: list[PresenceState]) -> None:
        if not states:
            return
        try:
            await self._publisher.publish([presence_record(state) for state in states])
        except TransientError as error:
            log.warning("presence.publish_failed", error=str(error), states=len(states))
            # The sweep of any pod tells them once Kafka is back.
            with contextlib.suppress(TransientError):
                for state in states:
                    await self._store.due_again(state.tenant, state.agent, time.time())
