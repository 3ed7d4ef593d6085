"""Takes files from agents: counted, hashed and judged while they come, then kept."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import IO

from services.inbox.decisions.limits import media_limit
from services.inbox.decisions.serving import safe_filename
from services.inbox.decisions.sniffing import (
    HEAD,
    OGG_OPUS,
    TAIL,
    WEBM,
    Recorded,
    Sniffed,
    directory_at,
    recorded,
    settle,
    sniff,
)
from services.inbox.gateways.pictures import (
    PIXELS,
    Pictures,
    TooManyPixelsError,
    UnreadablePictureError,
)
from services.inbox.gateways.sounds import (
    SOUNDS,
    Sounds,
    TooLongError,
    UnreadableSoundError,
)
from services.inbox.model.errors import RefusedError
from services.inbox.model.media import Asked, Kind, Upload
from services.inbox.model.outgoing import StoredMedia
from services.inbox.model.people import Person
from services.inbox.storage.media import MediaStore
from shared.blobs.store import BlobStore
from shared.ids import new_id
from shared.media.measures import Measures
from shared.media.measuring import measure

_IN_MEMORY = 1024 * 1024
_PIECE = 1024 * 1024
_MP4 = frozenset({"video/mp4", "audio/mp4"})
_NOTHING = Measures()


def _unsupported(reason: str) -> RefusedError:
    return RefusedError("unsupported_media_type", reason=reason)


def _wrong(code: str, **more: int) -> RefusedError:
    return RefusedError("validation", errors=[{"field": "file", "code": code, **more}])


@dataclass(slots=True)
class _Received:
    """A file on disk (small ones in memory), hashed as it came."""

    content: IO[bytes]
    size: int = 0
    digest: str = ""
    head: bytes = b""
    sniffed: Sniffed = field(default_factory=lambda: Sniffed("", Kind.DOCUMENT))


@dataclass(frozen=True, slots=True)
class _Judged:
    """What the whole file is."""

    sniffed: Sniffed
    measures: Measures = _NOTHING
    recorded: Recorded = Recorded.AS_IT_IS


class Uploads:
    """Every refusal has a code: `too_large` (with `limit`), `unsupported_media_type`, ..."""

    def __init__(
        self,
        store: MediaStore,
        blobs: BlobStore,
        pictures: Pictures,
        sounds: Sounds,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._pictures = pictures
        self._sounds = sounds
        self._clock = clock

    async def take(
        self,
        person: Person,
        filename: str | None,
        pieces: AsyncIterator[bytes],
        *,
        asked: Asked | None = None,
    ) -> Upload:
        """Keeps a file for the person who sends it.

        `asked`: a document has a document's limits whatever it is, a voice note becomes Ogg/Opus.
        Refuses with `validation` (empty, too many pixels, a sound that is too long or cannot be
        decoded), `too_large`, `unsupported_media_type`.
        """
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as content:
            received = _Received(content)
            await self._receive(received, pieces, as_document=asked is Asked.DOCUMENT)
            judged = await self._judge(received, asked)
            if judged.recorded is Recorded.AS_IT_IS:
                sniffed, measures = judged.sniffed, judged.measures
                return await self._keep(person, filename, received, sniffed, measures)
            with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as ogg:
                voice = await self._to_ogg(received, judged, ogg)
                measures = await asyncio.to_thread(measure, ogg)
                return await self._keep(person, filename, voice, voice.sniffed, measures)

    async def _receive(
        self, received: _Received, pieces: AsyncIterator[bytes], *, as_document: bool
    ) -> None:
        digest = hashlib.sha256()
        limit = media_limit(Kind.DOCUMENT, animated=False)
        waiting = bytearray()
        judged = False

        def write(some: bytes) -> None:
            digest.update(some)
            received.content.write(some)

        async for piece in pieces:
            waiting += piece
            received.size += len(piece)
            if not judged and len(waiting) >= HEAD:
                limit = self._begin(received, bytes(waiting[:HEAD]), as_document=as_document)
                judged = True
            if received.size > limit:
                kind = received.sniffed.kind.value
                raise RefusedError("too_large", limit=limit, kind=kind)
            if len(waiting) >= _PIECE:
                await asyncio.to_thread(write, bytes(waiting))
                waiting.clear()
        if received.size == 0:
            raise _wrong("required")
        if not judged:
            limit = self._begin(received, bytes(waiting), as_document=as_document)
        await asyncio.to_thread(write, bytes(waiting))
        received.digest = digest.hexdigest()

    def _begin(self, received: _Received, head: bytes, *, as_document: bool) -> int:
        """What it is, by its first bytes; answers the limit that it has."""
        sniffed = sniff(head)
        if sniffed is None:
            raise _unsupported("unknown_type")
        if as_document:
            sniffed = replace(sniffed, kind=Kind.DOCUMENT)
        received.head = head
        received.sniffed = sniffed
        return media_limit(sniffed.kind, animated=sniffed.animated)

    # -- what the whole file tells

    async def _judge(self, received: _Received, asked: Asked | None) -> _Judged:
        sniffed = received.sniffed
        if asked is Asked.VOICE and sniffed.kind not in {Kind.AUDIO, Kind.VIDEO}:
            raise _unsupported("no_sound")
        if not sniffed.settled:
            known = settle(sniffed, **await asyncio.to_thread(_ends, received))
            if known is None:
                raise _unsupported("unknown_type")
            return _Judged(known)
        if sniffed.mime_type.startswith("image/"):
            try:
                return _Judged(sniffed, await self._pictures.measure(received.content))
            except UnreadablePictureError as bad:
                raise _unsupported("unreadable") from bad
            except TooManyPixelsError as bomb:
                raise _wrong("too_many_pixels", limit=PIXELS) from bomb
        if sniffed.mime_type.startswith(("audio/", "video/")):
            return await self._listen(received, asked)
        return _Judged(sniffed)

    async def _listen(self, received: _Received, asked: Asked | None) -> _Judged:
        sniffed = received.sniffed
        try:
            tracks = await self._sounds.probe(received.content, sniffed.mime_type)
        except UnreadableSoundError as bad:
            raise _unsupported("unreadable") from bad
        if sniffed.mime_type in {WEBM, OGG_OPUS} and (tracks.audio != "opus" or tracks.video):
            raise _unsupported("codec")
        if sniffed.mime_type in _MP4 and tracks.video is None:
            kind = sniffed.kind if sniffed.kind is Kind.DOCUMENT else Kind.AUDIO
            sniffed = replace(sniffed, mime_type="audio/mp4", kind=kind)
        if sniffed.mime_type == "video/mp4" and tracks.video != "h264":
            raise _unsupported("codec")
        if asked is Asked.VOICE and sniffed.mime_type not in SOUNDS:
            raise _unsupported("no_sound")
        how = recorded(
            sniffed.mime_type,
            codec=tracks.audio,
            channels=tracks.channels,
            fragmented=tracks.fragmented,
            asked=asked,
        )
        longest = self._sounds.longest.total_seconds()
        if how is Recorded.TO_ENCODE and (tracks.measures.duration_ms or 0) > longest * 1000:
            if sniffed.mime_type != "audio/mp4" or asked is Asked.VOICE:
                raise self._too_long()
            how = Recorded.AS_IT_IS
        return _Judged(sniffed, tracks.measures, how)

    def _too_long(self) -> RefusedError:
        return _wrong("too_long", limit=int(self._sounds.longest.total_seconds()))

    async def _to_ogg(self, received: _Received, judged: _Judged, ogg: IO[bytes]) -> _Received:
        """What was recorded, as WhatsApp plays it."""
        try:
            if judged.recorded is Recorded.TO_COPY:
                await self._sounds.to_ogg(received.content, ogg)
            else:
                await self._sounds.to_voice(received.content, judged.sniffed.mime_type, ogg)
        except UnreadableSoundError as bad:
            raise _wrong("unreadable") from bad
        except TooLongError as long:
            raise self._too_long() from long
        voice = _Received(ogg, sniffed=replace(judged.sniffed, mime_type=OGG_OPUS))
        await asyncio.to_thread(_hash, voice)
        return voice

    async def _keep(
        self,
        person: Person,
        filename: str | None,
        received: _Received,
        sniffed: Sniffed,
        measures: Measures,
    ) -> Upload:
        """The catalogue first: content that it names is not erased while it is being stored."""
        upload = Upload(
            tenant=person.tenant,
            uploader=person.id,
            kind=sniffed.kind,
            created_at=self._clock(),
            file=StoredMedia(
                id=new_id(),
                mime_type=sniffed.mime_type,
                size=received.size,
                sha256=received.digest,
                filename=safe_filename(filename, sniffed.mime_type),
                width=measures.width,
                height=measures.height,
                duration_ms=measures.duration_ms,
                animated=sniffed.animated,
            ),
        )
        await self._store.begin(upload)
        received.content.seek(0)
        await self._blobs.put(upload.tenant, received.digest, received.content)
        await self._store.finish(upload.tenant, upload.file.id)
        return upload


def _ends(received: _Received) -> dict[str, bytes]:
    """The last bytes, and those where an OLE file lists its streams."""
    content = received.content
    content.seek(max(0, received.size - TAIL))
    tail = content.read(TAIL)
    at = directory_at(received.head)
    content.seek(min(at or 0, received.size))
    return {"tail": tail, "directory": content.read(HEAD)}


def _hash(received: _Received) -> None:
    digest = hashlib.sha256()
    received.content.seek(0)
    while piece := received.content.read(_PIECE):
        digest.update(piece)
        received.size += len(piece)
    received.digest = digest.hexdigest()
