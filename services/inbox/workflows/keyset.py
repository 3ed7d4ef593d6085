"""Tends the keys that sign our tokens, and tells everybody their public halves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from services.inbox.model.entities import PLATFORM, Keyset
from services.inbox.storage.directory import DirectoryStore
from services.inbox.storage.keys import KeyState, SigningKeys
from shared.contracts.errors import TransientError

log = structlog.get_logger()
_EVERY = timedelta(seconds=30)


class KeyRotation:
    """Looks after the keys on every pod: the next one by age, or when the operator asks."""

    def __init__(
        self, directory: DirectoryStore, keys: SigningKeys, clock: Callable[[], datetime]
    ) -> None:
        self._directory = directory
        self._keys = keys
        self._clock = clock
        self._told: list[dict[str, Any]] | None = None

    async def tend(self) -> None:
        """Loads the keys, makes what is due, and tells what changed."""
        await self._keys.tend()
        await self._tell()

    async def rotate(self) -> list[KeyState]:
        """Makes the next key now; it signs when everybody had time to learn of it."""
        states = await self._keys.rotate()
        await self._tell()
        log.info("signing_key.rotated", keys=len(states))
        return states

    async def run(self) -> None:
        """Tends until cancelled."""
        while True:
            await asyncio.sleep(_EVERY.total_seconds())
            try:
                await self.tend()
            except TransientError as error:
                log.warning("signing_key.postponed", error=str(error))

    async def _tell(self) -> None:
        shown = self._keys.jwks
        if shown != self._told:
            await publish_keyset(self._directory, self._keys, self._clock)
            self._told = shown


async def publish_keyset(
    directory: DirectoryStore, keys: SigningKeys, clock: Callable[[], datetime]
) -> None:
    """Creates or changes the platform's keyset entry; what is told already is left."""
    at = clock()
    wanted = Keyset(
        id=PLATFORM,
        tenant=PLATFORM,
        created_by=PLATFORM,
        created_at=at,
        changed_at=at,
        issuer=keys.issuer,
        keys=keys.jwks,
    )
    found = await directory.create(wanted)
    if found.keys != wanted.keys or found.issuer != wanted.issuer:
        await directory.change(
            Keyset,
            PLATFORM,
            PLATFORM,
            lambda held: replace(held, issuer=wanted.issuer, keys=wanted.keys),
        )
