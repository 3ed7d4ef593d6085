"""A stream's life: who may open one, where it begins, what may change it, when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

import structlog

from services.notifier.decisions import frames
from services.notifier.decisions.feed import (
    can_resume,
    choose_scope,
    may_stream,
    merge,
    read_cursor,
    streams_to_read,
    tags_of,
)
from services.notifier.decisions.tokens import TokenError, read_token
from services.notifier.model import (
    ALL,
    Activity,
    Agent,
    Claims,
    CloseCode,
    Cursor,
    Page,
    Position,
    Scope,
)
from services.notifier.storage.directory import Directory
from services.notifier.storage.feed import FeedStore
from services.notifier.storage.presence import Beat, PresenceStore
from services.notifier.workflows.activity import TellActivity
from services.notifier.workflows.client import Client, Sink
from services.notifier.workflows.hub import Hub
from services.notifier.workflows.presence import Presence
from services.notifier.workflows.tail import Tail
from shared.contracts.directory import split_directory_key
from shared.contracts.errors import TransientError
from shared.contracts.records import InRecord
from shared.kafka.table import CompactedTable
from shared.observability.metrics import Metrics

log = structlog.get_logger()

_PAGE = 200
_DIRECTORY_PATIENCE = timedelta(seconds=5)
_SWEEP_SECONDS = 1.0


class RefusedError(Exception):
    """The stream cannot be opened."""

    def __init__(self, why: CloseCode) -> None:
        super().__init__(why.value)
        self.why = why


class Streams:
    """The streams of this pod."""

    def __init__(
        self,
        *,
        directory: Directory,
        table: CompactedTable,
        feed: FeedStore,
        tail: Tail,
        sockets: PresenceStore,
        presence: Presence,
        activity: TellActivity,
        queue_limit: int,
        ticket_session: timedelta,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._directory = directory
        self._table = table
        self._directory_known = False
        self._feed = feed
        self._tail = tail
        self._sockets = sockets
        self._presence = presence
        self._activity = activity
        self._queue_limit = queue_limit
        self._ticket_session = ticket_session.total_seconds()
        self._metrics = metrics
        self._clock = clock
        self._clients: defaultdict[str, set[Client]] = defaultdict(set)
        self._pod = secrets.token_hex(6)
        self._numbers = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        presence.sockets = self._beats
        tail.on_activity = self._on_activity

    @property
    def directory_known(self) -> bool:
        """Whether the directory was read to the end once; while Kafka is away that state does."""
        self._directory_known = self._directory_known or self._table.caught_up
        return self._directory_known

    async def start(self) -> None:
        """Begin to end streams whose token expires."""
        self._spawn(self._expire())

    async def aclose(self) -> None:
        """End what is still open."""
        for client in [c for clients in self._clients.values() for c in clients]:
            client.close(CloseCode.RESTART)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def opened(self, sink: Sink, hello: frames.Hello, kind: str) -> AsyncIterator[Client]:
        """A stream from its welcome to its end. Raises RefusedError."""
        try:
            claims, agent = await self._admit(hello.token)
            scope, refused = choose_scope(hello.scope, agent)
        except ValueError as error:
            raise RefusedError(CloseCode.BAD_HELLO) from error
        except TransientError as error:
            raise RefusedError(CloseCode.RESTART) from error
        socket = f"{self._pod}:{next(self._numbers)}"
        client = Client(sink, agent, claims, scope, socket=socket, limit=self._queue_limit)
        self._clients[agent.tenant].add(client)
        self._metrics.sockets.labels(kind).inc()
        try:
            try:
                if not await self._presence.join(agent.tenant, agent.id, socket):
                    raise RefusedError(CloseCode.TOO_MANY)
                hub = await self._join(client, hello.cursor)
            except TransientError as error:
                raise RefusedError(CloseCode.RESTART) from error
            if refused:
                client.tell(frames.error("forbidden_scope"))
                client.flush()
            try:
                yield client
            finally:
                hub.remove(client)
                await self._activity.changed(client, None, typing=False)
                await self._tail.release(hub)
        finally:
            client.gone(CloseCode.RESTART)
            self._metrics.sockets.labels(kind).dec()
            self._clients[agent.tenant].discard(client)
            if not self._clients[agent.tenant]:
                del self._clients[agent.tenant]
            await self._presence.leave(agent.tenant, agent.id, socket)

    async def on_frame(self, client: Client, text: str) -> None:
        """Do what a frame asks for. Raises BadFrameError, RefusedError."""
        match frames.read_frame(text):
            case frames.Ping():
                client.tell(frames.PONG)
                client.flush()
            case frames.Rescope(scope):
                self._rescope(client, scope)
            case frames.Renew(token):
                await self._renew(client, token)
            case frames.Viewing(conversation, typing):
                await self._activity.changed(client, conversation, typing=typing)
            case None:
                pass

    def directory_changed(self, records: Sequence[InRecord]) -> None:
        """Look again at the streams of the tenants that these records are of."""
        tenants = {split_directory_key(record.key)[0] for record in records if record.key}
        for tenant in tenants & self._clients.keys():
            for client in list(self._clients[tenant]):
                self._recheck(client)

    async def _admit(self, token: str) -> tuple[Claims, Agent]:
        try:
            if not self.directory_known:
                await self._table.wait_caught_up(_DIRECTORY_PATIENCE)
        except TimeoutError as error:
            raise RefusedError(CloseCode.RESTART) from error
        now = self._clock()
        try:
            claims = read_token(token, self._directory.keys, now)
        except TokenError as error:
            log.info("stream.refused", reason=str(error))
            raise RefusedError(CloseCode.BAD_TOKEN) from error
        agent = self._directory.agent(claims.tenant, claims.agent)
        active = self._directory.tenant_active(claims.tenant)
        verdict = may_stream(claims, agent, tenant_active=active, now=now)
        if verdict is not None or agent is None:
            raise RefusedError(verdict or CloseCode.BAD_TOKEN)
        if claims.ticket:
            if not await self._sockets.use_ticket(claims.tenant, claims.token_id):
                raise RefusedError(CloseCode.BAD_TOKEN)
            claims = replace(claims, expires_at=now + self._ticket_session)
        return claims, agent

    async def _join(self, client: Client, cursor: str | None) -> Hub:
        hub = await self._tail.acquire(client.agent.tenant)
        try:
            resumed = await self._resume(client, hub, read_cursor(cursor))
            self._metrics.resumes.labels("resumed" if resumed else "resync").inc()
            if not resumed:
                client.welcome(await self._present(hub), resumed=False)
                hub.add(client)
            # The welcome comes first, whatever follows from the next line.
            client.flush()
            # What changed meanwhile found a client that was not live yet.
            self._recheck(client)
            client.flush()
        except BaseException:
            hub.remove(client)
            await self._tail.release(hub)
            raise
        return hub

    async def _resume(self, client: Client, hub: Hub, cursor: Cursor | None) -> bool:
        if cursor is None or cursor.tags_hash != client.tags_hash:
            return False
        page = await self._page(client, cursor.seq)
        if not can_resume(cursor, page, client.tags_hash):
            return False
        client.welcome(Position(cursor.epoch, cursor.seq), resumed=True)
        while client.closed is None:
            entries, reached, more = merge(page)
            for entry in entries:
                client.push(entry)
            client.seq = max(client.seq, reached)
            if not more and hub.position.seq <= client.seq:
                hub.add(client)
                return True
            await client.room()
            page = await self._page(client, client.seq)
            place = Cursor(client.epoch, client.seq, client.tags_hash)
            if not can_resume(place, page, client.tags_hash):
                client.resync(await self._present(hub))
                hub.add(client)
                return True
        return True

    async def _page(self, client: Client, after: int) -> Page:
        streams = streams_to_read(client.tags)
        return await self._feed.read(client.agent.tenant, streams, after=after, limit=_PAGE)

    async def _present(self, hub: Hub) -> Position:
        # At or above the hub's place: what the hub hands over from here on is all that is missing.
        while True:
            page = await self._feed.read(hub.tenant, (ALL,), after=None, limit=0)
            if page.position.seq >= hub.position.seq:
                return page.position

    def _rescope(self, client: Client, asked: str) -> None:
        try:
            scope, refused = choose_scope(asked, client.agent)
        except ValueError as error:
            raise frames.BadFrameError("scope") from error
        if refused:
            client.tell(frames.error("forbidden_scope"))
            client.flush()
            return
        client.scope = scope
        self._retag(client)

    async def _renew(self, client: Client, token: str) -> None:
        claims, agent = await self._admit(token)
        if (agent.tenant, agent.id) != (client.agent.tenant, client.agent.id):
            raise RefusedError(CloseCode.BAD_TOKEN)
        client.claims = claims

    def _recheck(self, client: Client) -> None:
        tenant = client.agent.tenant
        agent = self._directory.agent(tenant, client.agent.id)
        active = self._directory.tenant_active(tenant)
        why = may_stream(client.claims, agent, tenant_active=active, now=self._clock())
        if why is not None or agent is None:
            client.close(why or CloseCode.BAD_TOKEN)
            return
        if not client.live:
            return
        if client.scope is Scope.ALL and not agent.supervises:
            client.scope = Scope.MINE
        client.agent = agent
        if tags_of(agent, client.scope) != client.tags:
            self._retag(client)

    def _retag(self, client: Client) -> None:
        hub = self._tail.hub(client.agent.tenant)
        if hub is not None and client.live:
            hub.retag(client)

    def _beats(self) -> Iterator[Beat]:
        for tenant, clients in self._clients.items():
            by_agent: defaultdict[str, list[str]] = defaultdict(list)
            for client in clients:
                if client.live:
                    by_agent[client.agent.id].append(client.socket)
            for agent, sockets in by_agent.items():
                yield Beat(tenant, agent, tuple(sockets))

    def _on_activity(self, hub: Hub, told: Activity) -> None:
        others = self._activity.heard(hub, told)
        if others:
            self._spawn(self._activity.answer(others, told.conversation))

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = self._clock()
            for client in [c for clients in self._clients.values() for c in clients]:
                if now >= client.claims.expires_at:
                    client.close(CloseCode.BAD_TOKEN)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
