"""Measures a file of whatever kind, by its own bytes and from its headers alone."""

from __future__ import annotations

from typing import IO

from PIL import Image

from shared.media.lengths import aac_ms, amr_ms, mp3_ms, ogg_opus_ms
from shared.media.measures import Measures
from shared.media.movies import read_movie

_PICTURES = ("JPEG", "PNG", "WEBP", "GIF")
_ORIENTATION = 0x0112
_LARGEST = 2**31 - 1


def measure(file: IO[bytes]) -> Measures:
    """What the file tells; nothing where it is broken, or of a kind that is not known.

    Reads headers and tables, decodes nothing, and leaves the file at its beginning.
    """
    try:
        return _bounded(_measure(file))
    except Exception:  # noqa: BLE001 - what a stranger made fails in every way, and is no failure
        return Measures()
    finally:
        file.seek(0)


def upright(picture: Image.Image) -> tuple[int, int]:
    """Width and height as it is shown: phones turn by a note (EXIF), not the pixels."""
    width, height = picture.size
    # Of other formats the note lies behind the pixels, which would all be decoded.
    noted = _note(picture) if picture.format in {"JPEG", "MPO"} else None
    return (height, width) if noted in {5, 6, 7, 8} else (width, height)


def _note(picture: Image.Image) -> object:
    try:
        return picture.getexif().get(_ORIENTATION)
    except Exception:  # noqa: BLE001 - the same
        return None  # the picture can be shown for all that


def _bounded(said: Measures) -> Measures:
    """Without what nothing can be: a header holds any number."""
    kept = (
        value if value is not None and 0 < value <= _LARGEST else None
        for value in (said.width, said.height, said.duration_ms)
    )
    return Measures(*kept)


def _measure(file: IO[bytes]) -> Measures:
    file.seek(0)
    head = file.read(128)
    if head[4:8] == b"ftyp" and head[8:12] not in {b"heic", b"heix", b"mif1", b"msf1", b"avif"}:
        return read_movie(file).measures
    if head.startswith(b"OggS"):
        return Measures(duration_ms=ogg_opus_ms(file))
    if head.startswith(b"#!AMR\n"):
        return Measures(duration_ms=amr_ms(file))
    if head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xF6 == 0xF0:
        return Measures(duration_ms=aac_ms(file))
    if head.startswith(b"ID3") or (head[:1] == b"\xff" and head[1:2] != b"\xd8"):
        return Measures(duration_ms=mp3_ms(file))
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"GIF8")):
        file.seek(0)
        with Image.open(file, formats=_PICTURES) as picture:
            width, height = upright(picture)
        return Measures(width=width, height=height)
    return Measures()
