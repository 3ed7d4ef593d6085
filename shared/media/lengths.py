"""How long a sound lasts, by its frames' headers; None where they do not say."""

from __future__ import annotations

import struct
from typing import IO

_FRAMES = 1_000_000
_OGG_TAIL = 128 * 1024  # a page has at most 64 KB
_AMR_MS = 20
_AMR_BYTES = (13, 14, 16, 18, 20, 21, 27, 32, 6, 0, 0, 0, 0, 0, 0, 1)
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
_MP3_RATES = (44100, 48000, 32000)
# Layer III, kbit/s: MPEG 1, and 2 or 2.5.
_MP3_KBITS = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)


def ogg_opus_ms(file: IO[bytes]) -> int | None:
    """RFC 7845: the last page says how many samples of 48 kHz there are up to it."""
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(512)
    at = head.find(b"OpusHead")
    if at < 0 or len(head) < at + 12:
        return None
    (skipped,) = struct.unpack_from("<H", head, at + 10)
    file.seek(max(0, size - _OGG_TAIL))
    tail = file.read(_OGG_TAIL)
    page = tail.rfind(b"OggS")
    while page >= 0:
        if len(tail) >= page + 14:
            (samples,) = struct.unpack_from("<q", tail, page + 6)
            if samples >= 0:  # -1: no packet ends on this page
                return max(0, samples - skipped) // 48 or None
        page = tail.rfind(b"OggS", 0, page)
    return None


def amr_ms(file: IO[bytes]) -> int | None:
    """RFC 4867, section 5: frames of 20 ms, each says how long it is."""
    at = len(b"#!AMR\n")
    for frames in range(_FRAMES):
        file.seek(at)
        head = file.read(1)
        if not head:
            return frames * _AMR_MS or None
        length = _AMR_BYTES[head[0] >> 3 & 0xF]
        if not length:
            return None
        at += length
    return None


def aac_ms(file: IO[bytes]) -> int | None:
    """ADTS (ISO/IEC 14496-3, 1.A.3.2): 1024 samples in each block of each frame."""
    samples = rate = at = 0
    for _ in range(_FRAMES):
        file.seek(at)
        head = file.read(7)
        if len(head) < 7:
            break
        index = head[2] >> 2 & 0xF
        length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        if head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or index >= len(_AAC_RATES) or length < 7:
            break  # a tag at the end, or what is broken
        rate = rate or _AAC_RATES[index]
        samples += 1024 * ((head[6] & 3) + 1)
        at += length
    return samples * 1000 // rate if rate else None


def mp3_ms(file: IO[bytes]) -> int | None:
    """The first frame's count of frames (Xing, Info), else as if all had its bit rate."""
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(10)
    at = 0
    if head[:3] == b"ID3" and len(head) == 10:
        at = 10 + sum(
            (byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)
        )
    file.seek(at)
    frame = file.read(4096)
    start = frame.find(b"\xff")
    while start >= 0 and not _is_mp3(frame[start : start + 3]):
        start = frame.find(b"\xff", start + 1)
    if start < 0:
        return None
    version = frame[start + 1] >> 3 & 3  # 3: MPEG 1, 2: MPEG 2, 0: MPEG 2.5
    rate = _MP3_RATES[frame[start + 2] >> 2 & 3] >> {3: 0, 2: 1, 0: 2}[version]
    samples = 1152 if version == 3 else 576
    for mark in (b"Xing", b"Info"):
        found = frame.find(mark, start, start + 64)
        if found >= 0 and len(frame) >= found + 12 and frame[found + 7] & 1:
            (frames,) = struct.unpack_from(">I", frame, found + 8)
            return min(frames, _FRAMES) * samples * 1000 // rate or None
    kbits = _MP3_KBITS[version != 3][frame[start + 2] >> 4]
    return (size - at - start) * 8 // kbits or None


def _is_mp3(head: bytes) -> bool:
    """Whether it begins a frame of layer III with a known rate."""
    return (
        len(head) == 3
        and head[1] & 0xE6 == 0xE2
        and head[1] >> 3 & 3 != 1
        and head[2] >> 4 not in {0, 15}
        and head[2] >> 2 & 3 != 3
    )
