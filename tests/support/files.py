"""Small real files, and the multipart bodies that carry them."""

import fractions
import io

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


def recording(container: str, codec: str, layout: str = "mono", pieces: int = 50) -> bytes:
    """A second of silence, as a browser or a phone records it."""
    out = io.BytesIO()
    with av.open(out, mode="w", format=container) as target:
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


def form(content: bytes, filename: str = "file", told: str = "application/x-lie") -> bytes:
    """A multipart body with the member `file`, and another one before it."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
        f"Content-Type: {told}\r\n\r\n"
    )
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
