"""MP4, M4A and 3GP files by their boxes (ISO/IEC 14496-12), without FFmpeg.

A file of a kilobyte can claim a billion samples, and FFmpeg lays out an index of 24 bytes for each
of them (1.8 GB for 50 million, measured): what a file claims is counted here before it is let at
it. The same boxes tell how long and how large it is.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import IO, ClassVar

from shared.media.measures import Measures

SAMPLES = 1_000_000
"""The most that a file may claim: five hours of AAC."""
_BOXES = 100_000
_DEPTH = 16
_TABLE = 16 * SAMPLES
# What FFmpeg looks into wherever it stands (mov_default_parse_table).
_CONTAINERS = frozenset(
    {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"mvex", b"moof", b"traf", b"udta"}
)
_UNKNOWN = {0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF}


class BrokenMovieError(Exception):
    """Its boxes make no sense, or claim more than SAMPLES."""


@dataclass(slots=True)
class _Track:
    width: int = 0
    height: int = 0
    is_video: bool = False
    scale: int = 0
    length: int = 0
    default: int = 0
    """The length of a fragment's sample that has none of its own."""


@dataclass(slots=True)
class Movie:
    """What the boxes say."""

    fragmented: bool = False
    samples: int = 0
    scale: int = 0
    length: int = 0
    extended: int = 0
    """The length that a fragmented file tells beforehand."""
    tracks: dict[int, _Track] = field(default_factory=dict)

    @property
    def measures(self) -> Measures:
        """Length, and the size upright as it is shown."""
        shown = next((t for t in self.tracks.values() if t.is_video and t.width and t.height), None)
        return Measures(
            width=shown.width if shown else None,
            height=shown.height if shown else None,
            duration_ms=self._duration(),
        )

    def _duration(self) -> int | None:
        # Of a fragmented file the header counts only what lies outside of the fragments.
        whole = self.extended if self.fragmented else self.length
        if self.scale and whole:
            return round(whole * 1000 / self.scale) or None
        lengths = (t.length * 1000 / t.scale for t in self.tracks.values() if t.scale)
        return round(max(lengths, default=0)) or None


def read_movie(file: IO[bytes]) -> Movie:
    """Reads boxes and their tables, never the sound. Raises BrokenMovieError."""
    try:
        return _Reader(file).read()
    except (struct.error, ValueError, LookupError) as bad:
        raise BrokenMovieError from bad


class _Reader:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._movie = Movie()
        self._track = _Track()
        self._visited = 0

    def read(self) -> Movie:
        size = self._file.seek(0, 2)
        self._walk(0, size, depth=0)
        return self._movie

    def _walk(self, at: int, end: int, *, depth: int) -> None:
        if depth > _DEPTH:
            raise BrokenMovieError
        while at + 8 <= end:
            self._visited += 1
            if self._visited > _BOXES:
                raise BrokenMovieError
            self._file.seek(at)
            size, kind = struct.unpack(">I4s", self._file.read(8))
            body = at + 8
            if size == 1:
                (size,) = struct.unpack(">Q", self._file.read(8))
                body += 8
            stop = end if size == 0 else at + size
            if stop < body:
                raise BrokenMovieError
            # A recording that was cut off ends in the middle of its sound.
            stop = min(stop, end)
            self._enter(kind, body, stop, depth=depth)
            at = stop

    def _enter(self, kind: bytes, body: int, stop: int, *, depth: int) -> None:
        hiding = depth == 0 and kind in {b"free", b"hoov"} and self._hides_one(body, stop)
        if kind == b"cmov" or hiding:
            raise BrokenMovieError  # FFmpeg unpacks these
        if kind == b"trak":
            self._track = _Track()
        if kind == b"mvex":
            self._movie.fragmented = True
        if kind in _CONTAINERS:
            self._walk(body, stop, depth=depth + 1)
            return
        read = self._READERS.get(kind)
        if read is not None:
            if stop - body > _TABLE:
                raise BrokenMovieError
            self._file.seek(body)
            read(self, self._file.read(stop - body))

    def _hides_one(self, body: int, stop: int) -> bool:
        self._file.seek(body)
        return self._file.read(min(8, stop - body))[4:] in {b"moov", b"cmov"}

    def _count(self, samples: int) -> None:
        self._movie.samples += samples
        if self._movie.samples > SAMPLES:
            raise BrokenMovieError

    # -- the boxes, each from behind its name

    def _movie_header(self, raw: bytes) -> None:
        self._movie.scale, self._movie.length = _scale_and_length(raw)

    def _media_header(self, raw: bytes) -> None:
        self._track.scale, self._track.length = _scale_and_length(raw)

    def _track_header(self, raw: bytes) -> None:
        number_at, matrix_at = (20, 52) if raw[0] == 1 else (12, 40)
        (number,) = struct.unpack_from(">I", raw, number_at)
        *matrix, width, height = struct.unpack_from(">9iII", raw, matrix_at)
        # A quarter turn: nothing is left on the diagonal.
        turned = matrix[0] == 0 and matrix[4] == 0 and matrix[1] != 0
        size = (width >> 16, height >> 16)
        self._track.width, self._track.height = reversed(size) if turned else size
        self._movie.tracks[number] = self._track

    def _handler(self, raw: bytes) -> None:
        self._track.is_video = self._track.is_video or raw[8:12] == b"vide"

    def _sizes(self, raw: bytes) -> None:
        (count,) = struct.unpack_from(">I", raw, 8)
        self._count(count)

    def _runs_of_samples(self, raw: bytes) -> None:
        """Times or offsets of samples, `(count, value)` for as many as have the same."""
        (entries,) = struct.unpack_from(">I", raw, 4)
        claimed = sum(count for count, _ in struct.iter_unpack(">II", raw[8 : 8 + 8 * entries]))
        if claimed > SAMPLES:
            raise BrokenMovieError

    def _extended_length(self, raw: bytes) -> None:
        (length,) = struct.unpack_from(">Q" if raw[0] == 1 else ">I", raw, 4)
        self._movie.extended = _known(length)

    def _fragment_defaults(self, raw: bytes) -> None:
        number, _, default = struct.unpack_from(">III", raw, 4)
        self._movie.tracks.setdefault(number, _Track()).default = default

    def _fragment_header(self, raw: bytes) -> None:
        flags, number = struct.unpack_from(">II", raw, 0)
        known = self._movie.tracks.setdefault(number, _Track())
        self._track = known
        at = 8 + (8 if flags & 0x1 else 0) + (4 if flags & 0x2 else 0)
        if flags & 0x8:
            (known.default,) = struct.unpack_from(">I", raw, at)

    def _fragment_run(self, raw: bytes) -> None:
        flags, count = struct.unpack_from(">II", raw, 0)
        self._count(count)
        if not flags & 0x100:
            self._track.length += count * self._track.default
            return
        at = 8 + (4 if flags & 0x1 else 0) + (4 if flags & 0x4 else 0)
        words = 1 + sum(1 for flag in (0x200, 0x400, 0x800) if flags & flag)
        table = raw[at : at + 4 * words * count]
        table = table[: len(table) // (4 * words) * 4 * words]
        self._track.length += sum(each[0] for each in struct.iter_unpack(f">{words}I", table))

    _READERS: ClassVar = {
        b"mvhd": _movie_header,
        b"mdhd": _media_header,
        b"tkhd": _track_header,
        b"hdlr": _handler,
        b"stsz": _sizes,
        b"stz2": _sizes,
        b"stts": _runs_of_samples,
        b"ctts": _runs_of_samples,
        b"mehd": _extended_length,
        b"trex": _fragment_defaults,
        b"tfhd": _fragment_header,
        b"trun": _fragment_run,
    }


def _scale_and_length(raw: bytes) -> tuple[int, int]:
    scale, length = struct.unpack_from(
        ">IQ" if raw[0] == 1 else ">II", raw, 20 if raw[0] == 1 else 12
    )
    return scale, _known(length)


def _known(length: int) -> int:
    return 0 if length in _UNKNOWN else length
