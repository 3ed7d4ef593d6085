"""Passwords: argon2id, off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from shared.contracts.errors import TransientError

_WORKERS = 2
_MAX_WAITING = 64


class Passwords:
    """Hashes and verifies in a small pool; a flood of sign-ins is refused, not queued for ever.

    Parameters: OWASP's minimum for argon2id (19 MiB, 2 passes, 1 lane), about 20 ms each.
    """

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="passwords")
        self._waiting = 0
        # Verified against when there is no such agent, so that both answers take as long.
        self._nobody = self._hasher.hash("nobody")

    async def hash(self, password: str) -> str:
        """The text to store. Raises TransientError when too many wait."""
        with self._place():
            return await asyncio.get_running_loop().run_in_executor(
                self._pool, self._hasher.hash, password
            )

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether it is the password; None is never anybody's. Raises TransientError."""
        with self._place():
            same = await asyncio.get_running_loop().run_in_executor(
                self._pool, self._matches, stored or self._nobody, password
            )
        return same and stored is not None

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._waiting >= _MAX_WAITING:
            raise TransientError("too many passwords are being hashed")
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
