"""The tenant's files: who may see which, and their content."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from io import BytesIO
from typing import Literal

from services.inbox.decisions.lifecycle import Viewer, sees
from services.inbox.decisions.limits import media_limit
from services.inbox.decisions.links import Link, holds, link_key, sign
from services.inbox.gateways.pictures import (
    THUMB_TYPE,
    Pictures,
    TooManyPixelsError,
    UnreadablePictureError,
)
from services.inbox.gateways.sounds import (
    M4A_TYPE,
    SOUNDS,
    Sounds,
    TooLongError,
    UnreadableSoundError,
)
from services.inbox.model.conversation import Media
from services.inbox.model.errors import RefusedError, invalid, not_found
from services.inbox.model.media import Kind, Upload
from services.inbox.model.outgoing import StoredMedia
from services.inbox.model.people import Person, TokenClaims
from services.inbox.storage.media import MediaStore
from services.inbox.workflows.changing import conversation_at
from shared.blobs.store import M4A, THUMB, BlobMissingError, BlobStore
from shared.mongo.headlog import HeadLog

_LOOK_AGAIN = timedelta(milliseconds=150)
_THUMBED = frozenset({"image/jpeg", "image/png", "image/webp"})
_THUMBED_SIZE = 16 * 1024 * 1024
_HEARD_SIZE = media_limit(Kind.AUDIO, animated=False)
_IN_MEMORY = 1024 * 1024


@dataclass(frozen=True, slots=True)
class HeldFile:
    """A file that may be seen; `variant` empty: as it came."""

    tenant: str
    sha256: str
    mime_type: str | None
    size: int
    filename: str | None
    variant: Literal["", "thumb", "m4a"] = ""

    @property
    def tag(self) -> str:
        """Its entity tag: the same content has the same one."""
        return f'"{self.sha256}{"-" + self.variant if self.variant else ""}"'


class Library:
    """`services.inbox.workflows.sending.MediaCatalogue`, and reading.

    A file is seen by who sees a conversation that has it; an upload that nobody sent yet, by its
    uploader. What is out of sight, or deleted with its chat, is `not_found`.
    """

    def __init__(
        self,
        log: HeadLog,
        store: MediaStore,
        blobs: BlobStore,
        pictures: Pictures,
        sounds: Sounds,
        *,
        secret: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._log = log
        self._store = store
        self._blobs = blobs
        self._pictures = pictures
        self._sounds = sounds
        self._making: dict[str, asyncio.Task[int]] = {}
        self._key = link_key(secret)
        self._clock = clock

    async def find(self, viewer: Viewer, media_id: str) -> StoredMedia | None:
        """An upload that the viewer may send."""
        upload = await self._store.find(viewer.tenant, media_id)
        if upload is None:
            return None
        if upload.uploader != viewer.agent:
            if await self._in_sight(viewer, media_id) is None:
                return None
        elif await self._store.is_deleted(viewer.tenant, media_id):
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
        if await self._store.is_deleted(viewer.tenant, media_id):
            return None
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

    def link(self, person: Person, media_id: str) -> Link:
        """An address of a file for the person who asks, who has looked at it."""
        session = person.session or ""
        return sign(self._key, media_id, person.tenant, person.id, session, self._clock())

    def claims(self, link: Link, media_id: str) -> TokenClaims:
        """Whom a link to the file was made for. Refuses with `not_found` if it does not hold.

        Whether they still are let in, and still see the file, is for the caller to ask.
        """
        if not holds(self._key, media_id, link, self._clock()):
            raise not_found()
        return TokenClaims(link.agent, link.tenant, link.issued_at, link.session or None)

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

    async def m4a(self, file: HeldFile) -> HeldFile:
        """A sound as M4A. Refuses with `validation` where there can be none."""
        told = (file.mime_type or "").split(";")[0].strip().lower()
        if told == M4A_TYPE:
            return file
        if told not in SOUNDS or file.size > _HEARD_SIZE:
            raise invalid("format", "not_allowed")
        size = await self._blobs.size(file.tenant, file.sha256, variant=M4A)
        if size is None:
            size = await self._make_once(file, told)
        return replace(file, mime_type=M4A_TYPE, size=size, variant="m4a")

    async def _make_once(self, file: HeldFile, told: str) -> int:
        """A player asks several times before the first answer, and leaves in between."""
        key = f"{file.tenant}/{file.sha256}"
        making = self._making.get(key)
        if making is None:
            making = asyncio.create_task(self._make_m4a(file, told))
            self._making[key] = making
            making.add_done_callback(lambda done: self._made(key, done))
        try:
            return await asyncio.shield(making)
        except UnreadableSoundError as bad:
            raise invalid("format", "unreadable") from bad
        except TooLongError as long:
            limit = int(self._sounds.longest.total_seconds())
            errors = [{"field": "format", "code": "too_long", "limit": limit}]
            raise RefusedError("validation", errors=errors) from long

    def _made(self, key: str, done: asyncio.Task[int]) -> None:
        del self._making[key]
        if not done.cancelled():
            done.exception()  # told to who still waits, if anybody does

    async def _make_m4a(self, file: HeldFile, told: str) -> int:
        with (
            tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as whole,
            tempfile.NamedTemporaryFile(suffix=".m4a") as made,
        ):
            async for piece in await self.content(file, 0, file.size):
                whole.write(piece)
            await self._sounds.to_m4a(whole, told, made)
            size = made.seek(0, 2)
            made.seek(0)
            await self._blobs.put(file.tenant, file.sha256, made, variant=M4A)
        return size

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
