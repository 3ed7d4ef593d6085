"""One connected person: what waits for them, in order, and never more than the limit."""

from __future__ import annotations

import asyncio
from typing import Protocol

from services.notifier.decisions import frames
from services.notifier.decisions.feed import change_for, hash_tags, tags_of, write_cursor
from services.notifier.model import (
    Agent,
    Change,
    Claims,
    CloseCode,
    Cursor,
    Entry,
    Position,
    Scope,
    Tags,
)

_EVENTS_PER_FRAME = 100
_FRAME_BYTES = 256 * 1024
# What Python and the frame add to an event's own bytes.
_OVERHEAD = 200
_NOWHERE = -1
"""The place of a frame that is not of the feed."""


class Sink(Protocol):
    """Where frames go: a WebSocket or a stream of server-sent events."""

    def bind(self, client: Client) -> None:
        """Learn whom to `flush()` when the transport takes more again."""
        ...

    def writable(self) -> bool:
        """Whether the transport takes more now."""
        ...

    def write(self, frame: bytes, cursor: str | None) -> None:
        """Hand one frame to the transport."""
        ...

    def close(self, why: CloseCode) -> None:
        """End the stream after what was written."""
        ...


class Client:
    """A stream's place in the feed (`epoch`, `seq`) and its queue.

    `seq` is the highest number that this client is done with: what is not above it is dropped,
    so handing the same entry over twice is harmless.
    """

    __slots__ = (
        "_cursor_tail",
        "_limit",
        "_queue",
        "_queued",
        "_room",
        "_sink",
        "agent",
        "claims",
        "closed",
        "epoch",
        "live",
        "scope",
        "seq",
        "socket",
        "tags",
        "typing",
        "viewing",
    )

    def __init__(
        self, sink: Sink, agent: Agent, claims: Claims, scope: Scope, *, socket: str, limit: int
    ) -> None:
        self.agent = agent
        self.claims = claims
        self.scope = scope
        self.socket = socket
        self.epoch = ""
        self.seq = 0
        self.viewing: str | None = None
        self.typing = False
        self.live = False
        self.closed: CloseCode | None = None
        self._sink = sink
        self._limit = limit
        self._queue: list[tuple[int, Change | None, bytes]] = []
        self._queued = 0
        self._room: asyncio.Event | None = None
        self.tags: Tags = frozenset()
        self._cursor_tail = ""
        self.retag()
        sink.bind(self)

    @property
    def tags_hash(self) -> str:
        """The digest of the tags, as in the cursor."""
        return self._cursor_tail

    def retag(self) -> None:
        """Follow what agent and scope give now."""
        self.tags = tags_of(self.agent, self.scope)
        self._cursor_tail = hash_tags(self.tags)

    def cursor(self, seq: int) -> str:
        """The client's cursor at a place of its epoch."""
        return write_cursor(Cursor(self.epoch, seq, self._cursor_tail))

    def welcome(self, position: Position, *, resumed: bool) -> None:
        """Tell where the stream begins."""
        self.epoch, self.seq = position.epoch, position.seq
        frame = frames.welcome(resumed=resumed, cursor=self.cursor(position.seq))
        self._put(position.seq, None, frame)

    def resync(self, position: Position) -> None:
        """Everything up to `position` is to be fetched over REST; what waited is void."""
        self.epoch, self.seq = position.epoch, position.seq
        # Answers stay: only what is of the feed can be had again.
        self._queue = [item for item in self._queue if item[0] == _NOWHERE]
        self._queued = sum(len(data) + _OVERHEAD for _, _, data in self._queue)
        self._put(position.seq, None, frames.resync(self.cursor(position.seq)))

    def push(self, entry: Entry) -> Change | None:
        """Queue what an entry means for this client; a queue over the limit ends the stream."""
        if entry.seq <= self.seq or self.closed is not None:
            return None
        self.seq = entry.seq
        change = change_for(entry.before, entry.after, self.tags)
        if change is not None:
            self._put(entry.seq, change, entry.body)
        return change

    def tell(self, frame: bytes) -> None:
        """Queue a frame that is not of the feed."""
        self._put(_NOWHERE, None, frame)

    def _put(self, seq: int, change: Change | None, data: bytes) -> None:
        if self.closed is not None:
            return
        self._queue.append((seq, change, data))
        self._queued += len(data) + _OVERHEAD
        if self._queued > self._limit and self.live:
            self.flush()
            if self._queued > self._limit:
                self.close(CloseCode.TOO_SLOW)

    def flush(self) -> int:
        """Write as much as the transport takes, several events in one frame; the frames written."""
        written = 0
        while self._queue and self.closed is None and self._sink.writable():
            frame, cursor = self._next_frame()
            self._sink.write(frame, cursor)
            written += 1
        if self._room is not None and self._queued <= self._limit // 2:
            self._room.set()
        return written

    def _next_frame(self) -> tuple[bytes, str | None]:
        seq, change, data = self._queue[0]
        if change is None:
            del self._queue[0]
            self._queued -= len(data) + _OVERHEAD
            return data, None if seq == _NOWHERE else self.cursor(seq)
        items, size = [(change, data)], len(data)
        for next_seq, next_change, more in self._queue[1:_EVENTS_PER_FRAME]:
            if next_change is None or size + len(more) > _FRAME_BYTES:
                break
            items.append((next_change, more))
            size += len(more)
            seq = next_seq
        del self._queue[: len(items)]
        self._queued -= size + _OVERHEAD * len(items)
        cursor = self.cursor(seq)
        return frames.events(cursor, items), cursor

    async def room(self) -> None:
        """Wait until less than half of the limit is queued, or the stream ended."""
        self.flush()
        while self._queued > self._limit // 2 and self.closed is None:
            self._room = asyncio.Event()
            await self._room.wait()
        self._room = None

    def close(self, why: CloseCode) -> None:
        """End the stream; harmless when it ended already."""
        if self.closed is not None:
            return
        if why is not CloseCode.TOO_SLOW:
            self.flush()
        self.gone(why)
        self._sink.close(why)

    def gone(self, why: CloseCode) -> None:
        """Note that the stream is over and let go of what waited."""
        if self.closed is None:
            self.closed = why
        self._queue = []
        self._queued = 0
        if self._room is not None:
            self._room.set()
