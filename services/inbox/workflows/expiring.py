"""Erases uploads that no message used within their life."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from services.inbox.model.media import Upload
from services.inbox.storage.media import MediaStore
from services.inbox.workflows.erasing import spellings
from shared.blobs.store import BlobStore
from shared.contracts.errors import TransientError

log = structlog.get_logger()
_EVERY = timedelta(minutes=1)
_BATCH = 100


class Expiring:
    """Any pod may do any of it: everything is idempotent."""

    def __init__(
        self,
        media: MediaStore,
        blobs: BlobStore,
        clock: Callable[[], datetime],
        life: timedelta,
        count: Callable[[], None],
    ) -> None:
        self._media = media
        self._blobs = blobs
        self._clock = clock
        self._life = life
        self._count = count

    async def run(self) -> None:
        """Expires what is due until cancelled."""
        while True:
            try:
                while await self.expire_due():
                    pass
            except TransientError as error:
                log.warning("expiring.postponed", error=str(error))
            await asyncio.sleep(_EVERY.total_seconds())

    async def expire_due(self) -> int:
        """Judges some of the uploads that were not touched for their life; how many."""
        before = self._clock() - self._life
        due = await self._media.unused(before, _BATCH)
        for upload in due:
            await self._judge(upload, before)
        return len(due)

    async def _judge(self, upload: Upload, before: datetime) -> None:
        """Hidden first and forgotten last: what ends in between is found again."""
        tenant, media_id, digest = upload.tenant, upload.file.id, upload.file.sha256
        async for _ in self._media.shown(tenant, media_id):
            await self._media.used(tenant, media_id)
            return
        if not await self._media.expire(tenant, media_id, before):
            return
        wanted = await self._media.is_wanted(tenant, digest, before)
        if not wanted and not await self._media.is_shown(tenant, spellings(digest)):
            await self._blobs.delete(tenant, digest)
        if await self._media.remove(tenant, media_id):
            self._count()
