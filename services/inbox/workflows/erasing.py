"""Removes what deletions leave behind, beside the hot path, until it is certain."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from services.inbox.storage.conversations import ConversationStore
from services.inbox.storage.drafts import DraftStore
from services.inbox.storage.erasures import Erasure, ErasureStore
from services.inbox.storage.media import MediaStore
from shared.blobs.store import BlobStore
from shared.contracts.errors import TransientError

log = structlog.get_logger()
_EVERY = timedelta(seconds=2)
_BATCH = 20
_JUST_TOUCHED = timedelta(minutes=1)
ROUNDS = (timedelta(minutes=2), timedelta(days=1))
"""After the first round: what was on its way to be sent, or being downloaded, at the deletion."""


class Erasing:
    """Any pod may do any of it: everything is idempotent."""

    def __init__(
        self,
        erasures: ErasureStore,
        media: MediaStore,
        drafts: DraftStore,
        conversations: ConversationStore,
        blobs: BlobStore,
        clock: Callable[[], datetime],
    ) -> None:
        self._erasures = erasures
        self._media = media
        self._drafts = drafts
        self._conversations = conversations
        self._blobs = blobs
        self._clock = clock

    async def run(self) -> None:
        """Erases what is due until cancelled."""
        while True:
            try:
                while await self.erase_due():
                    pass
            except TransientError as error:
                log.warning("erasing.postponed", error=str(error))
            await asyncio.sleep(_EVERY.total_seconds())

    async def erase_due(self) -> int:
        """One round for some of what is due; how many it was for."""
        due = await self._erasures.due(self._clock(), _BATCH)
        for erasure in due:
            if erasure.conversation is None:
                await self._conversations.erase_documents(erasure.tenant)
                await self._media.erase(erasure.tenant)
                await self._blobs.delete_tenant(erasure.tenant)
            else:
                await self._erase_conversation(erasure.tenant, erasure.conversation)
            await self._plan(erasure)
        return len(due)

    async def _plan(self, erasure: Erasure) -> None:
        if erasure.round < len(ROUNDS):
            await self._erasures.again(erasure, self._clock() + ROUNDS[erasure.round])
        else:
            await self._erasures.done(erasure)

    async def _erase_conversation(self, tenant: str, conversation: str) -> None:
        await self._drafts.forget(tenant, conversation)
        files = await self._media.of_conversation(tenant, conversation)
        ids: dict[str, set[str]] = {}
        for media_id, told in files:
            digest = _hex(told)
            if digest is not None:
                ids.setdefault(digest, set()).add(media_id)
        for digest, own in ids.items():
            if await self._media.is_shown(tenant, spellings(digest), except_in=conversation):
                continue
            # Somebody may be sending it elsewhere right now: the next round looks again.
            await self._media.remove_untouched(tenant, list(own), self._clock() - _JUST_TOUCHED)
            if not await self._media.is_uploaded(tenant, digest):
                await self._blobs.delete(tenant, digest)


def spellings(digest: str) -> tuple[str, str]:
    """A digest as ready files have it, and as webhooks tell it."""
    return digest, base64.b64encode(bytes.fromhex(digest)).decode()


def _hex(told: str) -> str | None:
    """A digest as the store names it: webhooks have it in base64."""
    try:
        raw = bytes.fromhex(told) if len(told) == 64 else base64.b64decode(told, validate=True)
    except ValueError:
        return None
    return raw.hex() if len(raw) == 32 else None
