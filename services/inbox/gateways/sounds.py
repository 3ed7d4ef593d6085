"""Sound and video, read by PyAV: their streams and length; voice notes put into another container.

Only the one demuxer that the type calls for is let at a file, and only packets are looked at:
nothing is decoded.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import IO

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from services.inbox.model.media import Measures

_DEMUXERS = {
    "audio/aac": "aac",
    "audio/amr": "amr",
    "audio/mpeg": "mp3",
    "audio/mp4": "mp4",
    "audio/ogg": "ogg",
    "audio/webm": "matroska",
    "video/mp4": "mp4",
    "video/3gpp": "mp4",
}


class UnreadableSoundError(Exception):
    """Not what its first bytes say, or a broken one."""


@dataclass(frozen=True, slots=True)
class Tracks:
    """What is in a container: names of codecs, None where there is no such track."""

    audio: str | None
    channels: int | None
    video: str | None
    measures: Measures


class Sounds:
    """Works in threads."""

    async def probe(self, file: IO[bytes], mime_type: str) -> Tracks:
        """The tracks of a file of this type. Raises UnreadableSoundError."""
        return await asyncio.to_thread(_probe, file, mime_type)

    async def to_ogg(self, webm: IO[bytes], ogg: IO[bytes]) -> None:
        """The sound of a WebM in an Ogg, packet for packet. Raises UnreadableSoundError."""
        await asyncio.to_thread(_to_ogg, webm, ogg)


def _open(file: IO[bytes], mime_type: str) -> InputContainer:
    file.seek(0)
    return av.open(file, mode="r", format=_DEMUXERS[mime_type])


def _probe(file: IO[bytes], mime_type: str) -> Tracks:
    try:
        with _open(file, mime_type) as container:
            sound = next((s for s in container.streams if isinstance(s, AudioStream)), None)
            # The picture on the sleeve of a song is a video stream too.
            picture = next(
                (
                    s
                    for s in container.streams
                    if isinstance(s, VideoStream) and not s.disposition.attached_pic
                ),
                None,
            )
            length = container.duration  # microseconds
            return Tracks(
                audio=sound.codec_context.name if sound else None,
                channels=sound.codec_context.channels if sound else None,
                video=picture.codec_context.name if picture else None,
                measures=Measures(
                    width=picture.width if picture else None,
                    height=picture.height if picture else None,
                    duration_ms=round(length / 1000) if length and length > 0 else None,
                ),
            )
    except (FFmpegError, ValueError) as bad:
        raise UnreadableSoundError from bad


def _to_ogg(webm: IO[bytes], ogg: IO[bytes]) -> None:
    try:
        with _open(webm, "audio/webm") as source, av.open(ogg, mode="w", format="ogg") as target:
            track = source.streams.audio[0]
            copied = target.add_stream_from_template(track)
            for packet in source.demux(track):
                if packet.dts is None:  # the end's mark
                    continue
                packet.stream = copied
                target.mux(packet)
    except (FFmpegError, ValueError, IndexError) as bad:
        raise UnreadableSoundError from bad
