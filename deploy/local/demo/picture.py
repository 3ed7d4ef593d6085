"""A picture that a customer can send, drawn here: no binary file in the repository."""

import struct
import zlib

SIDE = 96


def shoe_box() -> bytes:
    """A small PNG: a red square on a sand-coloured ground, with a shaded edge."""
    rows = bytearray()
    for y in range(SIDE):
        rows.append(0)  # no filter
        for x in range(SIDE):
            inside = 20 <= x < 76 and 30 <= y < 72
            edge = inside and (x >= 70 or y >= 66)
            rows += (
                b"\x8c\x1c\x13" if edge else b"\xd7\x3a\x31" if inside else bytes((240, 228, 208))
            )
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
