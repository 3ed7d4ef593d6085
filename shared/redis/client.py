"""The one way to Redis: lifecycle, scripts, and errors that say what to do."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import hiredis
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.connection import BlockingConnectionPool, Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,  # noqa: A004 - redis-py's own, not a subclass of the built-in one
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004 - the same
    TryAgainError,
)
from typing_extensions import override

from shared.contracts.errors import TransientError
from shared.redis.settings import RedisSettings

_AWAY = (
    ConnectionError,
    TimeoutError,
    BusyLoadingError,
    ReadOnlyError,
    OutOfMemoryError,
    ClusterDownError,
    TryAgainError,
    OSError,
)
Argument = str | bytes | int | float


class RedisAwayError(TransientError):
    """Redis cannot be reached, is loading or takes no writes now; the call may have had effect."""


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script, called by its digest."""

    source: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "digest", digest)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a script; all keys must share a hash tag."""

    script: Script
    keys: Sequence[str | bytes]
    args: Sequence[Argument]


class _PackedInC(Connection):
    """redis-py packs the commands of an asyncio connection in Python: half of what a call costs."""

    @override
    def pack_command(self, *args: Any) -> list[bytes]:
        name = args[0]
        words = name.split() if isinstance(name, str) else (name,)
        return [hiredis.pack_command((*words, *args[1:]))]


class RedisClient:
    """A pool of connections that never retries by itself.

    A script that is not idempotent would otherwise run twice after a timeout; who calls knows.
    `identity` names the server behind the newest connection: it changes when Redis restarted or
    another replica took over, which is when acknowledged writes may be gone.
    """

    def __init__(self, settings: RedisSettings, *, client_name: str) -> None:
        self.prefix = settings.redis_prefix
        self.identity = ""
        # Who finds every connection in use waits for one, like for a slow server.
        pool = BlockingConnectionPool.from_url(
            settings.redis_url.get_secret_value(),
            # A `rediss:` address takes redis-py's own class instead.
            connection_class=_PackedInC,
            timeout=settings.redis_timeout.total_seconds(),
            client_name=client_name,
            max_connections=settings.redis_connections,
            socket_timeout=settings.redis_timeout.total_seconds(),
            socket_connect_timeout=settings.redis_timeout.total_seconds(),
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
            redis_connect_func=self._on_connect,
            protocol=2,
            decode_responses=False,
        )
        self._redis = Redis.from_pool(pool)

    @property
    def raw(self) -> Redis:
        """The client itself, for plain commands; wrap its calls in `guarded()`."""
        return self._redis

    async def aclose(self) -> None:
        """Close every connection."""
        await self._redis.aclose()

    async def ping(self) -> None:
        """Ask for an answer. Raises RedisAwayError."""
        with guarded():
            await cast("Awaitable[Any]", self._redis.ping())

    async def run(self, script: Script, keys: Sequence[str | bytes], *args: Argument) -> Any:
        """Call a script. Raises RedisAwayError, or ResponseError for a bug in the script."""
        with guarded():
            try:
                return await self._evalsha(script, keys, args)
            except NoScriptError:
                await self._redis.script_load(script.source)
                return await self._evalsha(script, keys, args)

    async def run_all(self, calls: Sequence[Call]) -> list[Any]:
        """Call scripts one after the other on one connection, in one round trip.

        When a script was not loaded, all calls are made again: the scripts must be idempotent.
        Raises RedisAwayError (some of the calls may have had effect) or ResponseError.
        """
        if not calls:
            return []
        with guarded():
            try:
                return await self._pipeline(calls)
            except NoScriptError:
                for script in {call.script for call in calls}:
                    await self._redis.script_load(script.source)
                return await self._pipeline(calls)

    @contextlib.asynccontextmanager
    async def pubsub(self) -> AsyncIterator[PubSub]:
        """A connection for subscriptions; errors in the block raise RedisAwayError."""
        subscriptions = self._redis.pubsub()
        try:
            with guarded():
                yield subscriptions
        finally:
            with contextlib.suppress(RedisError, OSError):
                await subscriptions.aclose()  # type: ignore[no-untyped-call]

    async def _evalsha(
        self, script: Script, keys: Sequence[str | bytes], args: Sequence[Argument]
    ) -> Any:
        return await self._redis.execute_command(  # type: ignore[no-untyped-call]
            "EVALSHA", script.digest, len(keys), *keys, *args
        )

    async def _pipeline(self, calls: Sequence[Call]) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for call in calls:
                pipeline.execute_command(
                    "EVALSHA", call.script.digest, len(call.keys), *call.keys, *call.args
                )
            answers = await pipeline.execute(raise_on_error=False)
        for kind in (NoScriptError, *_AWAY, Exception):
            for answer in answers:
                if isinstance(answer, kind):
                    raise answer
        return answers

    async def _on_connect(self, connection: Connection) -> None:
        try:
            await connection.on_connect()
            found: dict[bytes, bytes] = {}
            for section in (b"server", b"replication"):
                await connection.send_command(b"INFO", section)
                answer = await connection.read_response()
                found.update(line.split(b":", 1) for line in answer.split(b"\r\n") if b":" in line)
        except BaseException:
            # redis-py closes it after its own errors, not when the task was cancelled.
            await connection.disconnect(nowait=True)
            raise
        # The replication id tells a failover; the run id a restart without one.
        parts = (found.get(b"master_replid", b""), found.get(b"run_id", b""))
        self.identity = ".".join(part.decode() for part in parts)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Turn what is a matter of waiting into RedisAwayError; a bug stays what it is."""
    try:
        yield
    except _AWAY as error:
        raise RedisAwayError(type(error).__name__) from error
    except ResponseError as error:
        # A script's own error hides the cause in its text.
        if str(error).startswith(("LOADING", "READONLY", "OOM", "MASTERDOWN", "MISCONF", "BUSY")):
            raise RedisAwayError(str(error).split(" ", 1)[0]) from error
        raise
