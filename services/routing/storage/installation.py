"""What belongs to the whole installation in Redis: who waits anywhere, the marker, the turns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from shared.redis.client import RedisClient, Script, guarded

_LEAVE: Final = """
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
  return redis.call('HDEL', KEYS[1], ARGV[1])
end
return 0
"""
_UNLOCK: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
_KEEP: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
"""


class InstallationStore:
    """Keys without a tenant. All calls raise RedisAwayError."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis
        self._active = f"{redis.prefix}routing:active"
        self._marker = f"{redis.prefix}routing:marker"
        self._lock = f"{redis.prefix}routing:rebuild"
        self._check = f"{redis.prefix}routing:check"
        self._leave = Script(_LEAVE)
        self._unlock = Script(_UNLOCK)
        self._keep = Script(_KEEP)

    async def enlist(self, tenants: Iterable[str], token: str) -> None:
        """Somebody may wait at these tenants: the timer looks at them from now on."""
        entries: dict[Any, Any] = dict.fromkeys(tenants, token)
        if entries:
            with guarded():
                await self._redis.raw.hset(self._active, mapping=entries)

    async def enlisted(self) -> Mapping[str, str]:
        """The tenants that the timer looks at, each with the token of its last entry."""
        with guarded():
            found = await self._redis.raw.hgetall(self._active)
        return {_text(tenant): _text(token) for tenant, token in found.items()}

    async def leave(self, tenant: str, token: str) -> None:
        """Nobody waits there, as seen after reading this token; a newer entry stays."""
        await self._redis.run(self._leave, (self._active,), tenant, token)

    async def marker(self) -> str | None:
        """The Redis server that the projections were built on; None after a loss."""
        with guarded():
            found = await self._redis.raw.get(self._marker)
        return None if found is None else _text(found)

    async def mark(self, server: str) -> None:
        """Everything is built, on this server."""
        with guarded():
            await self._redis.raw.set(self._marker, server)

    async def lock_rebuild(self, token: str, span: timedelta) -> bool:
        """Politeness, not safety: two rebuilds at once are right but dear."""
        with guarded():
            return bool(await self._redis.raw.set(self._lock, token, nx=True, px=span))

    async def keep_rebuild(self, token: str, span: timedelta) -> None:
        """Hold the lock for longer: a second rebuild would undo the first one's start."""
        await self._redis.run(self._keep, (self._lock,), token, int(span.total_seconds() * 1000))

    async def unlock_rebuild(self, token: str) -> None:
        await self._redis.run(self._unlock, (self._lock,), token)

    async def take_check(self, span: timedelta) -> bool:
        """Whether this pod makes the periodic check now; once in `span` one does."""
        with guarded():
            return bool(await self._redis.raw.set(self._check, "1", nx=True, px=span))


def _text(raw: bytes | str) -> str:
    return raw if isinstance(raw, str) else raw.decode()
