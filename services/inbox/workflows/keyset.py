"""Tells everybody the public keys that verify our tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from services.inbox.model.entities import PLATFORM, Keyset
from services.inbox.storage.directory import DirectoryStore
from services.inbox.storage.keys import SigningKeys


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
