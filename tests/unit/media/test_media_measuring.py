import io
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shared.media.measures import Measures
from shared.media.measuring import measure
from shared.media.movies import SAMPLES, BrokenMovieError, read_movie
from tests.support.files import FRAGMENTED, boasting, bomb, film, picture, recording


def turned_picture() -> bytes:
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40)).save(out, "JPEG", exif=exif)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "width", "height"),
    [
        pytest.param(picture("PNG"), 640, 480, id="png"),
        pytest.param(picture("JPEG"), 640, 480, id="jpeg"),
        pytest.param(picture("WEBP"), 640, 480, id="webp"),
        pytest.param(picture("GIF"), 640, 480, id="gif"),
        pytest.param(turned_picture(), 40, 60, id="jpeg of a phone held upright"),
        pytest.param(film(), 320, 240, id="mp4"),
        pytest.param(film(turned=90), 240, 320, id="mp4 of a phone held upright"),
    ],
)
def test_a_picture_says_its_size_as_it_is_shown(content: bytes, width: int, height: int):
    found = measure(io.BytesIO(content))
    assert (found.width, found.height) == (width, height)


@pytest.mark.parametrize(
    ("content", "least", "most"),
    [
        pytest.param(recording("ogg", "libopus"), 990, 1010, id="voice note"),
        pytest.param(recording("mp4", "aac"), 990, 1010, id="m4a"),
        pytest.param(recording("mp4", "aac", options=FRAGMENTED), 990, 1050, id="fragments"),
        pytest.param(recording("adts", "aac"), 990, 1050, id="aac"),
        pytest.param(recording("mp3", "libmp3lame"), 990, 1050, id="mp3"),
        pytest.param(b"#!AMR\n" + b"\x3c" + bytes(31) + b"\x04" + bytes(12), 40, 40, id="amr"),
        pytest.param(b"\xff\xfb\x90\x64" + bytes(15996), 1000, 1000, id="mp3 without a count"),
        pytest.param(film(), 1990, 2010, id="video"),
    ],
)
def test_a_sound_says_how_long_it_is(content: bytes, least: int, most: int):
    found = measure(io.BytesIO(content)).duration_ms
    assert found is not None
    assert least <= found <= most


def endless() -> bytes:
    """A movie whose header says that it lasts for half a billion years."""
    told = bytearray(recording("mp4", "aac"))
    struct.pack_into(">II", told, told.find(b"mvhd") + 16, 1, 0xFFFFFFF0)
    return bytes(told)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"PK\x03\x04" + bytes(50), id="archive"),
        pytest.param(b"\x00\x00\x00\x18ftypheic" + bytes(50), id="heic"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(50), id="broken picture"),
        pytest.param(bomb(), id="picture that unfolds"),
        pytest.param(boasting(50_000_000), id="sound that unfolds"),
        pytest.param(endless(), id="sound without end"),
        pytest.param(b"OggS" + bytes(24) + b"OpusHead", id="cut voice note"),
        pytest.param(b"\x00\x00\x00\x18ftypisom" + b"\x00" * 12 + b"moov" * 3000, id="nonsense"),
        pytest.param(
            b"\x00\x00\x00\x08ftyp" + struct.pack(">I4s", 8, b"free") * 200_000, id="many"
        ),
        pytest.param(b"\x00\x00\x00\x08ftyp" + struct.pack(">I4s", 0, b"moov") * 5000, id="deep"),
    ],
)
def test_what_says_nothing_is_no_failure(content: bytes):
    file = io.BytesIO(content)
    assert measure(file) == Measures()
    assert file.tell() == 0


@given(st.integers(0, 2**32), st.sampled_from(["film", "fragments", "ogg", "aac", "mp3", "jpeg"]))
def test_a_broken_file_is_no_failure(seed: int, kind: str):
    chance = random.Random(seed)
    told = bytearray(SOUND[kind])
    for _ in range(chance.randint(1, 20)):
        told[chance.randrange(len(told))] = chance.randrange(256)
    measure(io.BytesIO(told[: chance.randint(0, len(told))]))


SOUND = {
    "film": film(),
    "fragments": recording("mp4", "aac", options=FRAGMENTED),
    "ogg": recording("ogg", "libopus"),
    "aac": recording("adts", "aac"),
    "mp3": recording("mp3", "libmp3lame"),
    "jpeg": turned_picture(),
}


def test_a_movie_may_not_claim_more_than_it_could_have():
    assert read_movie(io.BytesIO(boasting(SAMPLES - 1))).samples == SAMPLES - 1
    with pytest.raises(BrokenMovieError):
        read_movie(io.BytesIO(boasting(SAMPLES + 1)))


def test_a_movie_behind_packed_or_hidden_boxes_is_broken():
    whole = recording("mp4", "aac")
    packed = struct.pack(">I4sI4s", 16, b"free", 8, b"cmov")
    with pytest.raises(BrokenMovieError):
        read_movie(io.BytesIO(whole + packed))
    inside = struct.pack(">I4sI4s", 16, b"moov", 8, b"cmov")
    with pytest.raises(BrokenMovieError):
        read_movie(io.BytesIO(whole + inside))
