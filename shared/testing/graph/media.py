"""Media as Graph keeps it: uploaded or registered bytes, ids, URLs that expire."""

import hashlib
import itertools
import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

URL_LIFE_S = 300  # five minutes, for URLs of API answers and of webhooks alike

_MIB = 2**20
_KINDS = (
    # prefix of the MIME type, largest size; Meta's table of supported media
    ("audio/", 16 * _MIB),
    ("video/", 16 * _MIB),
    ("image/webp", 500 * 1024),
    ("image/", 5 * _MIB),
    ("", 100 * _MIB),
)
_ACCEPTED = {
    "audio/aac",
    "audio/amr",
    "audio/mpeg",
    "audio/mp4",
    "audio/ogg",
    "image/jpeg",
    "image/png",
    "image/webp",
    "video/mp4",
    "video/3gpp",
}


@dataclass(frozen=True, slots=True)
class Media:
    id: str
    mime_type: str
    content: bytes
    number_id: str | None

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.content).digest()


def refusal(mime_type: str, size: int) -> str | None:
    """Return why Graph does not take such an upload, or None if it does."""
    bare = mime_type.split(";", maxsplit=1)[0].strip().lower()
    if bare.startswith(("audio/", "image/", "video/")) and bare not in _ACCEPTED:
        return f"Param file must be a file with one of the supported types, got {bare}."
    largest = next(limit for prefix, limit in _KINDS if bare.startswith(prefix))
    return f"File size {size} exceeds the limit of {largest} bytes." if size > largest else None


class MediaStore:
    """Media by id, the oldest forgotten past a total of bytes."""

    def __init__(self, kept_bytes: int, clock: Callable[[], float]) -> None:
        self._kept_bytes = kept_bytes
        self._clock = clock
        self._held: OrderedDict[str, Media] = OrderedDict()
        self._size = 0
        self._ids = itertools.count(random.SystemRandom().randrange(10**8) * 10**6 + 3 * 10**14)
        self._expired: set[str] = set()

    def add(
        self, mime_type: str, content: bytes, number_id: str | None, media_id: str | None = None
    ) -> Media:
        media = Media(media_id or str(next(self._ids)), mime_type, content, number_id)
        self.remove(media.id)
        self._held[media.id] = media
        self._size += len(content)
        while self._size > self._kept_bytes and len(self._held) > 1:
            self.remove(next(iter(self._held)))
        return media

    def __contains__(self, media_id: str) -> bool:
        return media_id in self._held

    def get(self, media_id: str) -> Media | None:
        return self._held.get(media_id)

    def remove(self, media_id: str) -> bool:
        media = self._held.pop(media_id, None)
        if media is None:
            return False
        self._size -= len(media.content)
        self._expired.discard(media_id)
        return True

    def expire(self, media_id: str) -> None:
        """Make its URLs dead, as after five minutes, until the next look-up."""
        self._expired.add(media_id)

    def url(self, media: Media, base: str, source: str | None = None) -> str:
        self._expired.discard(media.id)
        expires = int(self._clock()) + URL_LIFE_S
        via = f"&source={source}" if source else ""
        mark = _mark(media.id, expires)
        return (
            f"{base}/whatsapp_business/attachments/?mid={media.id}{via}&ext={expires}&hash={mark}"
        )

    def download(self, media_id: str, expires: str, mark: str) -> Media | None:
        """Return the media if the URL is ours and still alive."""
        if not expires.isdecimal() or mark != _mark(media_id, int(expires)):
            return None
        if int(expires) < self._clock() or media_id in self._expired:
            return None
        return self._held.get(media_id)


def _mark(media_id: str, expires: int) -> str:
    return hashlib.sha256(f"{media_id}:{expires}".encode()).hexdigest()[:16]
