"""Live: each pod follows `all` of the tenants that it has streams of."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from datetime import timedelta

import orjson
import structlog
from redis.asyncio.client import PubSub

from services.notifier.model import ALL, Activity
from services.notifier.storage.feed import FeedStore
from services.notifier.workflows.hub import Hub
from shared.contracts.errors import TransientError
from shared.observability.metrics import Metrics
from shared.redis.client import RedisAwayError, RedisClient, guarded

log = structlog.get_logger()

_PAGE = 500
_BACKOFF_SECONDS = (0.1, 1.0)


class Tail:
    """Reads the feed of every tenant with a stream here and moves its hub along.

    Pub/sub only wakes: a lost message costs one `poll`. While Redis is away the streams stay
    open; when it is back, a feed that is not the same any more gives itself away by its epoch.
    """

    def __init__(
        self,
        redis: RedisClient,
        feed: FeedStore,
        *,
        poll: timedelta,
        metrics: Metrics,
    ) -> None:
        self._redis = redis
        self._feed = feed
        self._poll = poll.total_seconds()
        self._metrics = metrics
        self._hubs: dict[str, Hub] = {}
        self._followers: set[asyncio.Task[None]] = set()
        self._channels: dict[bytes, tuple[Hub, bool]] = {}
        self._pubsub: PubSub | None = None
        self._listener: asyncio.Task[None] | None = None
        self.redis_reached = False
        self.on_activity: Callable[[Hub, Activity], None] = _ignore

    async def start(self) -> None:
        """Begin to listen; returns at once."""
        self._listener = asyncio.create_task(self._listen(), name="feed wake-ups")

    async def aclose(self) -> None:
        """Stop following every tenant."""
        for hub in list(self._hubs.values()):
            hub.stop()
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
        await asyncio.gather(*self._followers, return_exceptions=True)

    def hub(self, tenant: str) -> Hub | None:
        """The hub of a tenant that has streams here."""
        return self._hubs.get(tenant)

    async def acquire(self, tenant: str) -> Hub:
        """The tenant's hub, to be given back with `release`. Raises RedisAwayError."""
        hub = self._hubs.get(tenant)
        if hub is None:
            hub = self._hubs[tenant] = Hub(tenant)
            keys = self._feed.keys(tenant)
            self._channels[keys.wake.encode()] = (hub, False)
            self._channels[keys.activity.encode()] = (hub, True)
        hub.users += 1
        try:
            if not hub.started:
                await self._begin(hub)
        except BaseException:
            await self.release(hub)
            raise
        return hub

    async def release(self, hub: Hub) -> None:
        """Stop following a tenant when its last stream is gone."""
        hub.users -= 1
        if hub.users == 0:
            await self._end(hub)

    async def _begin(self, hub: Hub) -> None:
        keys = self._feed.keys(hub.tenant)
        if self._pubsub is not None:
            # Subscribed before the position is read: nothing can come unseen in between.
            with guarded():
                await self._pubsub.subscribe(keys.wake, keys.activity)
        page = await self._feed.read(hub.tenant, (ALL,), after=None, limit=0)
        if not hub.started:
            hub.position = page.position
            hub.started = True
            follower = asyncio.create_task(self._follow(hub), name=f"feed {hub.tenant}")
            self._followers.add(follower)
            follower.add_done_callback(self._followers.discard)

    async def _end(self, hub: Hub) -> None:
        del self._hubs[hub.tenant]
        # Not cancelled: redis-py loses a connection whose command is cancelled at a bad moment.
        hub.stop()
        keys = self._feed.keys(hub.tenant)
        for channel in (keys.wake, keys.activity):
            self._channels.pop(channel.encode(), None)
        if self._pubsub is not None:
            with contextlib.suppress(RedisAwayError), guarded():
                await self._pubsub.unsubscribe(keys.wake, keys.activity)

    async def _follow(self, hub: Hub) -> None:
        delay = _BACKOFF_SECONDS[0]
        while not hub.stopped:
            hub.wake.clear()
            try:
                await self._drain(hub)
                delay = _BACKOFF_SECONDS[0]
            except TransientError as error:
                log.warning("feed.read_failed", error=str(error), retry=delay)
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                delay = min(delay * 2, _BACKOFF_SECONDS[1])
                continue
            if hub.stopped:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll):
                    await hub.wake.wait()

    async def _drain(self, hub: Hub) -> None:
        while True:
            page = await self._feed.read(hub.tenant, (ALL,), after=hub.position.seq, limit=_PAGE)
            epoch = hub.position.epoch
            for change, count in hub.take(page).items():
                self._metrics.frames.labels(change.value).inc(count)
            if hub.position.epoch != epoch:
                self._metrics.frames.labels("resync").inc(len(hub.clients))
                log.info("feed.epoch_changed", tenant=hub.tenant, streams=len(hub.clients))
            if len(page.streams[0]) < _PAGE:
                return

    async def _listen(self) -> None:
        while True:
            try:
                async with self._redis.pubsub() as pubsub:
                    await self._hear(pubsub)
            except TransientError as error:
                log.warning("feed.wakeups_lost", error=str(error))
            self.redis_reached = False
            await asyncio.sleep(random.uniform(*_BACKOFF_SECONDS) / 2)  # noqa: S311 - jitter

    async def _hear(self, pubsub: PubSub) -> None:
        # One channel of its own, so that the connection is there and watched without any hub.
        await pubsub.subscribe(f"{self._redis.prefix}wake")
        try:
            # Only now others may subscribe too: the connection is there.
            self._pubsub = pubsub
            if self._channels:
                await pubsub.subscribe(*self._channels)
            self.redis_reached = True
            for hub in self._hubs.values():
                hub.wake.set()
            await self._receive(pubsub)
        finally:
            self._pubsub = None

    async def _receive(self, pubsub: PubSub) -> None:
        while True:
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=10)
            if message is None:
                # A half-open connection would stay silent for ever.
                await pubsub.ping()
                continue
            listening = self._channels.get(message["channel"])
            if listening is None:
                continue
            hub, is_activity = listening
            if is_activity:
                self.on_activity(hub, _activity(hub.tenant, message["data"]))
            else:
                hub.wake.set()


def _activity(tenant: str, data: bytes) -> Activity:
    told = orjson.loads(data)
    return Activity(**told | {"tenant": tenant, "audience": frozenset(told["audience"])})


def _ignore(_hub: Hub, _told: Activity) -> None:
    pass
