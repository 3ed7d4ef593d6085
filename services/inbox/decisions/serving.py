"""How a stored file is handed out: names, types, ranges. Pure.

What customers send is not trusted: a type that a browser could run is never named, and only
what it plays or shows by itself is shown inline.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from services.inbox.decisions.limits import FILENAME

_OFFICE = "application/vnd.openxmlformats-officedocument."
_EXTENSIONS: Final[dict[str, tuple[str, ...]]] = {
    "application/pdf": ("pdf",),
    "application/msword": ("doc", "dot"),
    "application/vnd.ms-excel": ("xls", "xlt"),
    "application/vnd.ms-powerpoint": ("ppt", "pps"),
    _OFFICE + "wordprocessingml.document": ("docx",),
    _OFFICE + "spreadsheetml.sheet": ("xlsx",),
    _OFFICE + "presentationml.presentation": ("pptx",),
    "text/plain": ("txt", "csv", "tsv", "log", "md", "json", "ics", "vcf"),
    "image/jpeg": ("jpg", "jpeg"),
    "image/png": ("png",),
    "image/webp": ("webp",),
    "image/gif": ("gif",),
    "audio/aac": ("aac",),
    "audio/amr": ("amr",),
    "audio/mpeg": ("mp3",),
    "audio/mp4": ("m4a", "mp4"),
    "audio/ogg": ("ogg", "oga", "opus"),
    "video/mp4": ("mp4", "m4v"),
    "video/3gpp": ("3gp", "3gpp"),
}
"""The types that are named to a browser, each with the endings that its files may have."""
_INLINE = ("image/", "audio/", "video/")
OPAQUE = "application/octet-stream"
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def served_type(mime_type: str | None) -> str:
    """The Content-Type: one of those that are harmless, or none in particular."""
    bare = (mime_type or "").split(";")[0].strip().lower()
    return bare if bare in _EXTENSIONS else OPAQUE


def is_inline(served: str) -> bool:
    """Whether a browser may show it in the page."""
    return served == "application/pdf" or (
        served.startswith(_INLINE) and served.split("/")[1] != "svg+xml"
    )


def safe_filename(name: str | None, mime_type: str) -> str | None:
    """The name without folders, invisible characters and foreign endings; None: nothing is left.

    `invoice.exe` of a PDF becomes `invoice.exe.pdf`: what is opened is what it looks like.
    """
    if not name:
        return None
    last = re.split(r"[/\\]", name)[-1]
    shown = "".join(
        " " if char in '"<>|:*?' else char
        for char in unicodedata.normalize("NFC", last)
        if unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    )
    shown = re.sub(r"\s+", " ", shown).strip(" .")
    if not shown:
        return None
    endings = _EXTENSIONS.get(served_type(mime_type))
    stem, dot, ending = shown.rpartition(".")
    if endings is None:
        return shown[-FILENAME:]
    if not dot or ending.lower() not in endings:
        stem, ending = shown, endings[0]
    return f"{stem[: FILENAME - len(ending) - 1]}.{ending}"


def disposition(name: str | None, served: str) -> str:
    """Content-Disposition by RFC 6266: a plain name for old clients, the real one beside it."""
    kind = "inline" if is_inline(served) else "attachment"
    endings = _EXTENSIONS.get(served)
    shown = name or ("file." + endings[0] if endings else "file")
    plain = re.sub(r"[^A-Za-z0-9 ._()-]", "_", shown)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(shown, safe='')}"


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes from `start` to before `end`."""

    start: int
    end: int


class UnsatisfiableError(Exception):
    """No byte of the file is in the range (416)."""


def part_of(header: str | None, size: int) -> Part | None:
    """The part that a Range header asks for; None: all of it (RFC 9110, 14.2).

    Several ranges at once, other units and nonsense are answered with the whole file, as the RFC
    allows. Raises UnsatisfiableError.
    """
    asked = _RANGE.fullmatch((header or "").replace(" ", "").lower())
    if asked is None or asked[0] == "bytes=-":
        return None
    first, last = asked.groups()
    if not first:
        count = min(int(last), size)
        if count == 0:
            raise UnsatisfiableError
        return Part(size - count, size)
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        raise UnsatisfiableError
    return Part(start, min(int(last) + 1, size) if last else size)
