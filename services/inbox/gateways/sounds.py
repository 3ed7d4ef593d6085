"""Sound and video, read by PyAV: their tracks and length; voice notes put into other containers.

Only the one demuxer that the type calls for is let at a file, and an MP4 only after its boxes were
counted (`shared.media.movies`). What has to be decoded is: known codecs alone, a bounded length,
one file at a time.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from typing import IO, cast

import av
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from shared.media.measures import Measures
from shared.media.movies import BrokenMovieError, read_movie

M4A_TYPE = "audio/mp4"
OGG_TYPE = "audio/ogg"
LONGEST = timedelta(minutes=30)
"""The longest sound that is decoded: some fifteen seconds of one core."""
_DEMUXERS = {
    "audio/aac": "aac",
    "audio/amr": "amr",
    "audio/mpeg": "mp3",
    M4A_TYPE: "mp4",
    OGG_TYPE: "ogg",
    "audio/webm": "matroska",
    "video/mp4": "mp4",
    "video/3gpp": "mp4",
}
SOUNDS = frozenset(mime for mime in _DEMUXERS if mime.startswith("audio/"))
"""The types that can be decoded."""
_DECODED = frozenset({"aac", "amrnb", "libopus", "mp3", "mp3float", "opus"})
# Fewer would do, but FFmpeg lays an index out again for each part of an edited MP4.
_OPTIONS = {"advanced_editlist": "0"}
_RATE = 48_000
_ERRORS = (FFmpegError, BrokenMovieError, ValueError, IndexError, EOFError)


class UnreadableSoundError(Exception):
    """Not what its first bytes say, or a broken one."""


class TooLongError(Exception):
    """Longer than what is decoded."""


@dataclass(frozen=True, slots=True)
class Tracks:
    """What is in a container: names of codecs, None where there is no such track.

    `fragmented`: written while it was recorded, as browsers do.
    """

    audio: str | None
    channels: int | None
    video: str | None
    measures: Measures
    fragmented: bool = False


@dataclass(frozen=True, slots=True)
class _Target:
    container: str
    codec: str
    options: dict[str, str]
    frame: int
    bits: int
    """A second, for each channel."""
    channels: int


_VOICE = _Target("ogg", "libopus", {"application": "voip"}, 960, 32_000, 1)
_M4A = _Target("ipod", "aac", {"aac_coder": "fast"}, 1024, 64_000, 2)


class Sounds:
    """Works in threads."""

    def __init__(self, longest: timedelta = LONGEST) -> None:
        self.longest = longest
        self._decoding = asyncio.Semaphore(1)

    async def probe(self, file: IO[bytes], mime_type: str) -> Tracks:
        """The tracks of a file of this type. Raises UnreadableSoundError."""
        return await asyncio.to_thread(_probe, file, mime_type)

    async def to_ogg(self, webm: IO[bytes], ogg: IO[bytes]) -> None:
        """The sound of a WebM in an Ogg, packet for packet. Raises UnreadableSoundError."""
        await asyncio.to_thread(_to_ogg, webm, ogg)

    async def to_voice(self, file: IO[bytes], mime_type: str, ogg: IO[bytes]) -> None:
        """A sound as Opus, mono, in an Ogg: what WhatsApp takes as a voice note.

        Raises UnreadableSoundError, TooLongError.
        """
        async with self._decoding:
            await asyncio.to_thread(_encode, file, mime_type, ogg, _VOICE, self.longest)

    async def to_m4a(self, file: IO[bytes], mime_type: str, m4a: IO[bytes]) -> None:
        """A sound as AAC in an M4A, for who cannot play it; its table lies before the sound.

        `m4a` has a name in the file system. Raises UnreadableSoundError, TooLongError.
        """
        async with self._decoding:
            await asyncio.to_thread(_encode, file, mime_type, m4a, _M4A, self.longest)


def _open(file: IO[bytes], mime_type: str) -> InputContainer:
    file.seek(0)
    return av.open(file, mode="r", format=_DEMUXERS[mime_type], options=_OPTIONS)


def _probe(file: IO[bytes], mime_type: str) -> Tracks:
    try:
        movie = read_movie(file) if _DEMUXERS[mime_type] == "mp4" else None
        with _open(file, mime_type) as container:
            sound = next((s for s in container.streams if isinstance(s, AudioStream)), None)
            # The picture on the sleeve of a song is a video stream too.
            picture = next(
                (
                    s
                    for s in container.streams
                    if isinstance(s, VideoStream) and Disposition.attached_pic not in s.disposition
                ),
                None,
            )
            length = container.duration  # microseconds
            measures = Measures(duration_ms=round(length / 1000) if length and length > 0 else None)
            return Tracks(
                audio=sound.codec_context.name if sound else None,
                channels=sound.codec_context.channels if sound else None,
                video=picture.codec_context.name if picture else None,
                measures=movie.measures if movie else measures,
                fragmented=movie.fragmented if movie else False,
            )
    except _ERRORS as bad:
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
    except _ERRORS as bad:
        raise UnreadableSoundError from bad


def _encode(
    file: IO[bytes], mime_type: str, out: IO[bytes], to: _Target, longest: timedelta
) -> None:
    try:
        if _DEMUXERS[mime_type] == "mp4":
            read_movie(file)
        with _open(file, mime_type) as source:
            track = source.streams.audio[0]
            if track.codec_context.name not in _DECODED:
                raise UnreadableSoundError
            channels = min(to.channels, track.codec_context.channels)
            with _opened(out, to) as target:
                made = _add_track(target, to, "mono" if channels == 1 else "stereo")
                _write(source, track, _Written(target, made, to.frame), longest)
    except _ERRORS as bad:
        raise UnreadableSoundError from bad


def _opened(out: IO[bytes], to: _Target) -> OutputContainer:
    if to.container != "ipod":
        return av.open(out, mode="w", format=to.container)
    # FFmpeg moves the table to the front by opening the file a second time, by its name.
    return av.open(out.name, mode="w", format="ipod", options={"movflags": "+faststart"})


def _add_track(target: OutputContainer, to: _Target, layout: str) -> AudioStream:
    made = target.add_stream(to.codec, rate=_RATE, layout=layout, options=to.options)
    track = cast("AudioStream", made)
    track.bit_rate = to.bits * (1 if layout == "mono" else 2)
    return track


class _Written:
    """The sound on its way out: one rate, frames of one size, times counted anew.

    What was paused while it was recorded has gaps, what was cut goes back.
    """

    def __init__(self, target: OutputContainer, track: AudioStream, frame: int) -> None:
        context = track.codec_context
        self._target = target
        self._track = track
        self._resampler = AudioResampler(
            context.format.name, context.layout.name, _RATE, frame_size=frame
        )
        self._samples = 0

    def add(self, frame: av.AudioFrame | None) -> None:
        """None: it is over."""
        if frame is not None:
            frame.pts = None
        for each in self._resampler.resample(frame):
            each.pts = self._samples
            each.time_base = Fraction(1, _RATE)
            self._samples += each.samples
            self._target.mux(self._track.encode(each))
        if frame is None:
            self._target.mux(self._track.encode(None))


def _write(source: InputContainer, track: AudioStream, out: _Written, longest: timedelta) -> None:
    heard = 0.0
    for packet in source.demux(track):
        for frame in packet.decode():
            heard += frame.samples / frame.sample_rate
            if heard > longest.total_seconds():
                raise TooLongError
            out.add(frame)
    if not heard:
        raise UnreadableSoundError
    out.add(None)
