"""The rings of a tenant's feed in Redis."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from services.notifier.model import ALL, Entry, FeedEvent, Page, Position, Tags
from services.notifier.storage.scripts import READ, WRITE
from shared.contracts.topics import CONVERSATION_EVENTS
from shared.redis.client import Call, RedisClient, guarded

# A replay of the topic from its oldest record must still meet the guard.
_LAST_TTL = (CONVERSATION_EVENTS.retention or timedelta(days=30)) + timedelta(days=1)
# A ring that nobody writes to; a cursor older than that finds `top` above it and resyncs.
_STREAM_TTL_MS = int(timedelta(hours=24).total_seconds() * 1000)
_SEPARATOR = "\n"


@dataclass(frozen=True, slots=True)
class Written:
    """What one call did: `fresh` False is a version seen before; `raised` why the epoch rose."""

    fresh: bool
    raised: str


class FeedKeys:
    """The names of one tenant's keys, all under one hash tag."""

    def __init__(self, prefix: str, tenant: str) -> None:
        self._base = f"{prefix}{{{tenant}}}:"
        self.head = f"{self._base}feed"
        self.marks = f"{self._base}marks"
        self.wake = f"{self._base}wake"
        self.activity = f"{self._base}activity"
        self.presence = f"{self._base}presence"

    def stream(self, name: str) -> str:
        """The ring of a tag."""
        return f"{self._base}ring:{name}"

    def last(self, subject: str) -> str:
        """The guard of a subject's versions; it also holds its present audience."""
        return f"{self._base}last:{subject}"

    def sockets(self, agent: str) -> str:
        """An agent's sockets by expiry."""
        return f"{self._base}sockets:{agent}"

    def ticket(self, token_id: str) -> str:
        """Set once a ticket was used."""
        return f"{self._base}ticket:{token_id}"


class FeedStore:
    """Writes events into the rings and reads them, each in one atomic call."""

    def __init__(
        self,
        redis: RedisClient,
        *,
        ring_events: int,
        ring_age: timedelta,
        fresh_epoch: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._redis = redis
        self._ring_events = ring_events
        self._ring_age_ms = int(ring_age.total_seconds() * 1000)
        self._fresh_epoch = fresh_epoch
        self._last_ttl = int(_LAST_TTL.total_seconds())

    def keys(self, tenant: str) -> FeedKeys:
        """The names of a tenant's keys."""
        return FeedKeys(self._redis.prefix, tenant)

    async def write(self, events: Sequence[FeedEvent]) -> list[Written]:
        """Write events in order, in one round trip; repeating it changes nothing.

        Raises RedisAwayError: some of the events may be written.
        """
        if not self._redis.identity:
            await self._redis.ping()
        # One wake-up for all that a tenant gets: each would cost every pod a message.
        last = {event.tenant: place for place, event in enumerate(events)}
        fresh = self._fresh_epoch()
        answers = await self._redis.run_all(
            [
                self._write_call(event, f"{fresh}{place:04x}", wakes=last[event.tenant] == place)
                for place, event in enumerate(events)
            ]
        )
        return [Written(answer[:1] == b"1", answer[1:].decode()) for answer in answers]

    def _write_call(self, event: FeedEvent, fresh: str, *, wakes: bool) -> Call:
        keys = self.keys(event.tenant)
        names = (ALL, *sorted((event.before | event.after) - {ALL}))
        return Call(
            WRITE,
            (keys.head, keys.last(event.subject), keys.marks, *map(keys.stream, names)),
            (
                event.version,
                int(event.gap_free),
                fresh,
                self._redis.identity,
                self._ring_events,
                self._ring_age_ms,
                _STREAM_TTL_MS,
                self._last_ttl,
                keys.wake if wakes else "",
                _SEPARATOR.join(sorted(event.before)),
                _SEPARATOR.join(sorted(event.after)),
                event.body,
                *names,
            ),
        )

    async def read(
        self, tenant: str, streams: Sequence[str], *, after: int | None, limit: int
    ) -> Page:
        """One moment of the feed: its position and up to `limit` entries above `after` per ring.

        Without `after` no entries are read. A feed that is not there, or was on another server,
        gets a new epoch. Raises RedisAwayError.
        """
        if not self._redis.identity:
            await self._redis.ping()
        keys = self.keys(tenant)
        epoch, seq, floor, *found = await self._redis.run(
            READ,
            (keys.head, *map(keys.stream, streams)),
            self._fresh_epoch(),
            self._redis.identity,
            keys.wake,
            "" if after is None else after,
            limit,
            *streams,
        )
        return Page(
            position=Position(epoch.decode(), int(seq)),
            floor=int(floor),
            streams=tuple(_entries(stream) for stream in found),
            limit=limit,
        )

    async def audience(self, tenant: str, conversation: str) -> Tags | None:
        """Who sees a conversation now; None when the feed does not know it."""
        with guarded():
            found = await self._redis.raw.get(self.keys(tenant).last(conversation))
        return None if found is None else _tags(cast("bytes", found).split(b"\n", 1)[1])

    async def tell(self, tenant: str, message: bytes) -> None:
        """Send what is not kept to every pod that has streams of the tenant."""
        with guarded():
            await self._redis.raw.publish(self.keys(tenant).activity, message)


def _entries(flat: Sequence[bytes]) -> tuple[Entry, ...]:
    members = iter(flat)
    return tuple(
        Entry(
            seq=int(entry_id.split(b"-", 1)[0]),
            epoch=epoch.decode(),
            before=_tags(before),
            after=_tags(after),
            body=body,
        )
        for entry_id, epoch, before, after, body in zip(*[members] * 5, strict=True)
    )


def _tags(text: bytes) -> Tags:
    return frozenset(text.decode().split(_SEPARATOR)) - {""}
