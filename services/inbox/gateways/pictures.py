"""Pictures, read by Pillow: their size, and a small one of a large one.

A picture of a few kilobytes can unfold to gigabytes: its size is judged before it is decoded, and
one is decoded at a time.
"""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import IO

from PIL import Image, ImageOps

from shared.media.measures import Measures
from shared.media.measuring import upright

PIXELS = 40_000_000
"""The largest picture that is taken or decoded: 160 MB at most."""
THUMB_EDGE = 320
THUMB_TYPE = "image/webp"
_FORMATS = ("JPEG", "PNG", "WEBP")
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


class UnreadablePictureError(Exception):
    """Not a picture, or a broken one."""


class TooManyPixelsError(Exception):
    """Larger than PIXELS."""


class Pictures:
    """Works in threads."""

    def __init__(self) -> None:
        self._decoding = asyncio.Semaphore(1)

    async def measure(self, file: IO[bytes]) -> Measures:
        """Width and height as it is shown, from the header.

        Raises UnreadablePictureError, TooManyPixelsError.
        """
        return await asyncio.to_thread(_measure, file)

    async def thumb(self, file: IO[bytes]) -> BytesIO:
        """A WebP of at most THUMB_EDGE pixels a side, upright, without metadata.

        Raises as `measure`.
        """
        async with self._decoding:
            return await asyncio.to_thread(_thumb, file)


def _open(file: IO[bytes]) -> Image.Image:
    try:
        file.seek(0)
        picture = Image.open(file, formats=_FORMATS)
    except _BOMB as bomb:
        raise TooManyPixelsError from bomb
    except (OSError, ValueError, SyntaxError) as bad:
        raise UnreadablePictureError from bad
    width, height = picture.size
    if width * height > PIXELS:
        raise TooManyPixelsError
    return picture


def _measure(file: IO[bytes]) -> Measures:
    with _open(file) as picture:
        width, height = upright(picture)
        return Measures(width=width, height=height)


def _thumb(file: IO[bytes]) -> BytesIO:
    small = BytesIO()
    with _open(file) as picture:
        try:
            picture.draft("RGB", (THUMB_EDGE * 2, THUMB_EDGE * 2))
            upright = ImageOps.exif_transpose(picture)
            upright.thumbnail((THUMB_EDGE, THUMB_EDGE))
            upright.convert("RGBA" if upright.has_transparency_data else "RGB").save(
                small, "WEBP", quality=75
            )
        except _BOMB as bomb:
            raise TooManyPixelsError from bomb
        except (OSError, ValueError, SyntaxError, EOFError) as bad:
            raise UnreadablePictureError from bad
    small.seek(0)
    return small
