"""Small real files, and the multipart bodies that carry them."""

import fractions
import io
import struct

import av
from PIL import Image

BOUNDARY = "part-of-a-test"


def picture(kind: str = "PNG", size: tuple[int, int] = (640, 480), color: str = "navy") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, kind)
    return out.getvalue()


def bomb() -> bytes:
    """A few hundred kilobytes that would unfold to 400 MB."""
    out = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(out, "PNG")
    return out.getvalue()


FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
"""How Safari writes an MP4 while it records."""


def recording(
    container: str,
    codec: str,
    layout: str = "mono",
    pieces: int = 50,
    options: dict[str, str] | None = None,
) -> bytes:
    """A second of silence, as a browser or a phone records it."""
    out = io.BytesIO()
    with av.open(out, mode="w", format=container, options=options or {}) as target:
        track = target.add_stream(codec, rate=48_000, layout=layout)
        for number in range(pieces):
            frame = av.AudioFrame(
                format=track.codec_context.format.name, layout=layout, samples=960
            )
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            frame.sample_rate = 48_000
            frame.pts = number * 960
            frame.time_base = fractions.Fraction(1, 48_000)
            target.mux(track.encode(frame))
        target.mux(track.encode(None))
    return out.getvalue()


def film(turned: int = 0) -> bytes:
    """Two seconds of black, 320 pixels wide and 240 high before it is turned by degrees."""
    out = io.BytesIO()
    with av.open(out, mode="w", format="mp4") as target:
        track = target.add_stream("libx264", rate=10)
        track.width, track.height, track.pix_fmt = 320, 240, "yuv420p"
        if turned:
            track.set_display_rotation(turned)
        for number in range(20):
            frame = av.VideoFrame(320, 240, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            frame.pts = number
            target.mux(track.encode(frame))
        target.mux(track.encode(None))
    return out.getvalue()


def boasting(samples: int) -> bytes:
    """A kilobyte of MP4 that says it has so many samples."""
    told = bytearray(recording("mp4", "aac"))
    struct.pack_into(">II", told, told.find(b"stsz") + 8, 1, samples)
    struct.pack_into(">II", told, told.find(b"stts") + 12, samples, 1024)
    struct.pack_into(">III", told, told.find(b"stsc") + 12, 1, samples, 1)
    return bytes(told)


def form(content: bytes, filename: str = "file", told: str = "application/x-lie") -> bytes:
    """A multipart body with the member `file`, and another one before it."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
        f"Content-Type: {told}\r\n\r\n"
    )
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
