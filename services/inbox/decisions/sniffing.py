"""What a file is, told from its own bytes: a client's word on it counts nothing. Pure.

Only what WhatsApp takes is recognised; all the rest is unknown, and so refused. Source of the
types: developers.facebook.com/docs/whatsapp/cloud-api/reference/media#supported-media-types.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from services.inbox.model.media import Asked, Kind

HEAD = 4096
"""How many of the first bytes are looked at."""
TAIL = 64 * 1024
"""How many of the last ones, of an archive: its list of members is at its end."""

OGG_OPUS = "audio/ogg"
WEBM = "audio/webm"
_ZIP = "application/zip"
_OLE = "application/x-ole-storage"
_OFFICE = "application/vnd.openxmlformats-officedocument."
_PACKED = {
    b"word/document.xml": _OFFICE + "wordprocessingml.document",
    b"xl/workbook.xml": _OFFICE + "spreadsheetml.sheet",
    b"ppt/presentation.xml": _OFFICE + "presentationml.presentation",
}
_STREAMS = {
    "WordDocument": "application/msword",
    "Workbook": "application/vnd.ms-excel",
    "Book": "application/vnd.ms-excel",
    "PowerPoint Document": "application/vnd.ms-powerpoint",
}
_NO_VIDEO_FOR_US = frozenset({b"qt  ", b"3g2a", b"3g2b", b"3g2c"})
_PICTURES = frozenset({b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis"})
_TEXT_CONTROLS = frozenset(range(32)) - {9, 10, 12, 13}


@dataclass(frozen=True, slots=True)
class Sniffed:
    """`settled` False: the type follows from the rest of the file (`settle`)."""

    mime_type: str
    kind: Kind
    animated: bool = False
    settled: bool = True


def sniff(head: bytes) -> Sniffed | None:
    """What a file with these first bytes (HEAD of them) is; None: nothing that is taken."""
    return _image(head) or _moving(head) or _sound(head) or _document(head)


def _image(head: bytes) -> Sniffed | None:
    if head.startswith(b"\xff\xd8\xff"):
        return Sniffed("image/jpeg", Kind.IMAGE)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return Sniffed("image/png", Kind.IMAGE)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        # An extended file says in its flags whether it moves.
        animated = head[12:16] == b"VP8X" and len(head) > 20 and bool(head[20] & 0b10)
        return Sniffed("image/webp", Kind.STICKER, animated=animated)
    return None


def _moving(head: bytes) -> Sniffed | None:
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in _NO_VIDEO_FOR_US or brand in _PICTURES:
            return None
        if brand in {b"M4A ", b"M4B "}:
            return Sniffed("audio/mp4", Kind.AUDIO)
        if brand.startswith(b"3gp"):
            return Sniffed("video/3gpp", Kind.VIDEO)
        return Sniffed("video/mp4", Kind.VIDEO)
    if head.startswith(b"\x1a\x45\xdf\xa3") and b"webm" in head[:64]:
        return Sniffed(WEBM, Kind.AUDIO)
    return None


def _sound(head: bytes) -> Sniffed | None:
    if head.startswith(b"OggS") and b"OpusHead" in head[:128]:
        return Sniffed(OGG_OPUS, Kind.AUDIO)
    if head.startswith(b"#!AMR\n"):
        return Sniffed("audio/amr", Kind.AUDIO)
    if head.startswith(b"ID3"):
        return Sniffed("audio/mpeg", Kind.AUDIO)
    if len(head) > 3 and head[0] == 0xFF:
        if head[1] & 0xF6 == 0xF0:  # ADTS: layer 0
            return Sniffed("audio/aac", Kind.AUDIO)
        if head[1] & 0xE6 == 0xE2 and head[2] & 0xF0 not in {0x00, 0xF0}:  # layer III, a bit rate
            return Sniffed("audio/mpeg", Kind.AUDIO)
    return None


def _document(head: bytes) -> Sniffed | None:
    if head.startswith(b"%PDF-"):
        return Sniffed("application/pdf", Kind.DOCUMENT)
    if head.startswith(b"PK\x03\x04"):
        return Sniffed(_ZIP, Kind.DOCUMENT, settled=False)
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return Sniffed(_OLE, Kind.DOCUMENT, settled=False)
    return Sniffed("text/plain", Kind.DOCUMENT) if _is_text(head) else None


def _is_text(head: bytes) -> bool:
    """Plain text in any one-byte encoding or UTF-8; markup and scripts are none."""
    if not head or not _TEXT_CONTROLS.isdisjoint(head):
        return False
    begin = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return not begin.startswith((b"<", b"#!", b"%!"))


class Recorded(Enum):
    """How a sound becomes a voice note, which WhatsApp takes as Ogg/Opus, mono, alone."""

    AS_IT_IS = auto()
    TO_COPY = auto()
    """Its packets go into another container."""
    TO_ENCODE = auto()


def recorded(
    mime_type: str,
    *,
    codec: str | None,
    channels: int | None,
    fragmented: bool,
    asked: Asked | None,
) -> Recorded:
    """What is done with a sound before it is kept.

    Browsers record WebM/Opus, or (Safari) AAC in an MP4 that is written while one speaks: in
    fragments. Phones' own recorders write M4A with one channel; music has two, and stays.
    """
    if mime_type in {WEBM, OGG_OPUS}:
        if channels != 1:
            return Recorded.TO_ENCODE
        return Recorded.TO_COPY if mime_type == WEBM else Recorded.AS_IT_IS
    if asked is Asked.VOICE:
        return Recorded.TO_ENCODE
    spoken = mime_type == "audio/mp4" and codec == "aac" and (fragmented or channels == 1)
    return Recorded.TO_ENCODE if spoken and asked is None else Recorded.AS_IT_IS


def directory_at(head: bytes) -> int | None:
    """Where an OLE file lists its streams ([MS-CFB] 2.2); None: it does not say."""
    shift = int.from_bytes(head[30:32], "little")
    if len(head) < 512 or shift not in {9, 12}:
        return None
    return (int.from_bytes(head[48:52], "little") + 1) << shift


def settle(sniffed: Sniffed, *, tail: bytes, directory: bytes) -> Sniffed | None:
    """The document behind an archive: by its list of members, or its first streams' names."""
    found: str | None = None
    match sniffed.mime_type:
        case "application/zip":
            # Macros make it another type, which WhatsApp does not take.
            if b"vbaProject.bin" not in tail:
                found = next((mime for name, mime in _PACKED.items() if name in tail), None)
        case "application/x-ole-storage":
            names = (_stream_name(directory[at : at + 128]) for at in range(0, len(directory), 128))
            found = next((_STREAMS[name] for name in names if name in _STREAMS), None)
        case _:
            return sniffed
    return None if found is None else Sniffed(found, sniffed.kind)


def _stream_name(entry: bytes) -> str:
    length = int.from_bytes(entry[64:66], "little")
    return entry[: max(0, min(length, 64) - 2)].decode("utf-16-le", errors="replace")
