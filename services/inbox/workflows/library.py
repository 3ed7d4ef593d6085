"""The tenant's files: who may see which, and their content."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BytesIO
from typing import Literal

from services.inbox.decisions.lifecycle import Viewer, sees
from services.inbox.decisions.links import holds, link_key, signature
from services.inbox.gateways.pictures import (
    THUMB_TYPE,
    Pictures,
    TooManyPixelsError,
    UnreadablePictureError,
)
from services.inbox.model.conversation import Media
from services.inbox.model.errors import RefusedError, invalid, not_found
from services.inbox.model.media import Upload
from services.inbox.model.outgoing import StoredMedia
from services.inbox.storage.media import MediaStore
from services.inbox.workflows.changing import conversation_at
from shared.blobs.store import THUMB, BlobMissingError, BlobStore
from shared.mongo.headlog import HeadLog

LINK_LIFE = timedelta(minutes=5)
_LOOK_AGAIN = timedelta(milliseconds=150)
_THUMBED = frozenset({"image/jpeg", "image/png", "image/webp"})
_THUMBED_SIZE = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class HeldFile:
    """A file that may be seen; `variant` empty: as it came."""

    tenant: str
    sha256: str
    mime_type: str | None
    size: int
    filename: str | None
    variant: Literal["", "thumb"] = ""

    @property
    def tag(self) -> str:
        """Its entity tag: the same content has the same one."""
        return f'"{self.sha256}{"-" + self.variant if self.variant else ""}"'


@dataclass(frozen=True, slots=True)
class Link:
    """What a signed address carries."""

    tenant: str
    expires: int
    signature: str


class Library:
    """`services.inbox.workflows.sending.MediaCatalogue`, and reading.

    A file is seen by who sees a conversation that has it; an upload that nobody sent yet, by its
    uploader. What is out of sight is `not_found`.
    """

    def __init__(
        self,
        log: HeadLog,
        store: MediaStore,
        blobs: BlobStore,
        pictures: Pictures,
        *,
        secret: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._log = log
        self._store = store
        self._blobs = blobs
        self._pictures = pictures
        self._key = link_key(secret)
        self._clock = clock

    async def find(self, viewer: Viewer, media_id: str) -> StoredMedia | None:
        """An upload that the viewer may send."""
        upload = await self._store.find(viewer.tenant, media_id)
        if upload is None:
            return None
        if upload.uploader != viewer.agent and await self._in_sight(viewer, media_id) is None:
            return None
        # From here on the eraser leaves it alone until the message is written.
        touched = await self._store.touch(viewer.tenant, media_id, self._clock())
        return upload.file if touched else None

    async def look(self, viewer: Viewer, media_id: str) -> HeldFile:
        """A file that the viewer sees.

        Refuses with `not_found`, `media_pending`, `media_failed`.
        """
        found = await self._look(viewer, media_id)
        if found is None:
            # A message is told of while its document is being written: look a second time.
            await asyncio.sleep(_LOOK_AGAIN.total_seconds())
            found = await self._look(viewer, media_id)
        if found is None:
            raise not_found()
        return found

    async def _look(self, viewer: Viewer, media_id: str) -> HeldFile | None:
        media = await self._in_sight(viewer, media_id)
        if media is not None:
            return _ready(viewer.tenant, media)
        upload = await self._store.find(viewer.tenant, media_id)
        if upload is None or upload.uploader != viewer.agent:
            return None
        async for _ in self._store.shown(viewer.tenant, media_id):
            return None  # it was sent: who sees the conversation sees it
        return _own(upload)

    async def _in_sight(self, viewer: Viewer, media_id: str) -> Media | None:
        """The file of a message in a conversation that the viewer sees."""
        seen: dict[str, bool] = {}
        async for shown in self._store.shown(viewer.tenant, media_id):
            known = seen.get(shown.conversation_id)
            if known is None:
                heads = await self._log.load([shown.conversation_id])
                conversation = conversation_at(heads.get(shown.conversation_id))
                known = conversation is not None and sees(conversation, viewer)
                seen[shown.conversation_id] = known
            if known:
                return shown.media
        return None

    # -- links

    def link(self, tenant: str, media_id: str) -> Link:
        """An address's signature, for LINK_LIFE. Whoever asks has looked at the file."""
        expires = int((self._clock() + LINK_LIFE).timestamp())
        return Link(tenant, expires, signature(self._key, tenant, media_id, expires))

    async def follow(self, link: Link, media_id: str) -> HeldFile:
        """The file of a signed address, while it lives and the file is somewhere to be seen."""
        tenant = link.tenant
        if not holds(self._key, tenant, media_id, link.expires, link.signature, self._clock()):
            raise not_found()
        async for shown in self._store.shown(tenant, media_id):
            return _ready(tenant, shown.media)
        upload = await self._store.find(tenant, media_id)
        if upload is None:
            raise not_found()
        return _own(upload)

    # -- content

    async def thumb(self, file: HeldFile) -> HeldFile:
        """A small picture of a picture. Refuses with `validation` where there can be none."""
        size = await self._blobs.size(file.tenant, file.sha256, variant=THUMB)
        if size is None:
            small = await self._shrink(file)
            size = len(small.getbuffer())
            await self._blobs.put(file.tenant, file.sha256, small, variant=THUMB)
        return HeldFile(file.tenant, file.sha256, THUMB_TYPE, size, None, "thumb")

    async def _shrink(self, file: HeldFile) -> BytesIO:
        if file.mime_type not in _THUMBED or file.size > _THUMBED_SIZE:
            raise invalid("size", "not_allowed")
        with tempfile.SpooledTemporaryFile(max_size=_THUMBED_SIZE) as whole:
            async for piece in await self.content(file, 0, file.size):
                whole.write(piece)
            try:
                return await self._pictures.thumb(whole)
            except (UnreadablePictureError, TooManyPixelsError) as bad:
                raise invalid("size", "not_allowed") from bad

    async def content(self, file: HeldFile, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` to before `end`. Refuses with `not_found` before the first."""
        try:
            return await self._blobs.stream(
                file.tenant, file.sha256, variant=file.variant, start=start, end=end
            )
        except BlobMissingError as missing:
            raise not_found() from missing


def _ready(tenant: str, media: Media) -> HeldFile:
    if media.state != "ready" or media.sha256 is None or media.size is None:
        raise RefusedError("media_failed" if media.state == "failed" else "media_pending")
    return HeldFile(tenant, media.sha256, media.mime_type, media.size, media.filename)


def _own(upload: Upload) -> HeldFile:
    file = upload.file
    return HeldFile(upload.tenant, file.sha256, file.mime_type, file.size, file.filename)
