import io
import tempfile
from datetime import timedelta

import pytest

from services.inbox.decisions.sniffing import Recorded, recorded
from services.inbox.gateways.sounds import Sounds, TooLongError, UnreadableSoundError
from services.inbox.model.media import Asked
from tests.support.files import FRAGMENTED, boasting, film, recording

SAFARI = recording("mp4", "aac", options=FRAGMENTED)


@pytest.mark.parametrize(
    ("content", "mime"),
    [
        pytest.param(SAFARI, "audio/mp4", id="safari"),
        pytest.param(recording("mp4", "aac"), "audio/mp4", id="voice memo"),
        pytest.param(recording("mp4", "aac", "stereo"), "video/mp4", id="stereo"),
        pytest.param(recording("webm", "libopus", "stereo"), "audio/webm", id="stereo webm"),
        pytest.param(recording("adts", "aac"), "audio/aac", id="aac"),
        pytest.param(recording("mp3", "libmp3lame"), "audio/mpeg", id="mp3"),
    ],
)
async def test_a_recording_becomes_ogg_opus_mono(content: bytes, mime: str):
    works = Sounds()
    ogg = io.BytesIO()
    await works.to_voice(io.BytesIO(content), mime, ogg)
    found = await works.probe(ogg, "audio/ogg")
    assert (found.audio, found.channels, found.video) == ("opus", 1, None)
    assert found.measures.duration_ms is not None
    assert 990 <= found.measures.duration_ms <= 1060


@pytest.mark.parametrize(("layout", "channels"), [("mono", 1), ("stereo", 2)])
async def test_a_voice_note_becomes_m4a_with_its_table_in_front(layout: str, channels: int):
    works = Sounds()
    content = recording("ogg", "libopus", layout)
    with tempfile.NamedTemporaryFile() as m4a:
        await works.to_m4a(io.BytesIO(content), "audio/ogg", m4a)
        found = await works.probe(m4a, "audio/mp4")
        m4a.seek(0)
        made = m4a.read()
    assert (found.audio, found.channels) == ("aac", channels)
    assert found.measures.duration_ms is not None
    assert 990 <= found.measures.duration_ms <= 1060
    assert made[4:12] == b"ftypM4A "
    assert made.index(b"moov") < made.index(b"mdat")


def spoiled() -> bytes:
    """A recording whose headers are right and whose sound is not."""
    told = bytearray(SAFARI)
    begin = told.index(b"mdat") + 4
    told[begin : begin + 200] = b"\x55" * 200
    return bytes(told)


@pytest.mark.parametrize(
    ("content", "mime"),
    [
        pytest.param(spoiled(), "audio/mp4", id="spoiled"),
        pytest.param(SAFARI[:700], "audio/mp4", id="no sound"),
        pytest.param(boasting(2_000_000), "audio/mp4", id="claims too much"),
        pytest.param(film(), "video/mp4", id="film without sound"),
        pytest.param(b"\x55" * 5000, "audio/aac", id="nonsense"),
    ],
)
async def test_what_cannot_be_decoded_is_told(content: bytes, mime: str):
    with pytest.raises(UnreadableSoundError):
        await Sounds().to_voice(io.BytesIO(content), mime, io.BytesIO())


async def test_regression_the_picture_of_a_film_is_not_the_sleeve_of_a_song():
    found = await Sounds().probe(io.BytesIO(film()), "video/mp4")
    assert (found.audio, found.video) == (None, "h264")


async def test_a_file_that_claims_too_much_is_not_even_looked_at():
    with pytest.raises(UnreadableSoundError):
        await Sounds().probe(io.BytesIO(boasting(50_000_000)), "audio/mp4")


async def test_a_sound_is_decoded_up_to_a_length():
    works = Sounds(longest=timedelta(milliseconds=900))
    with pytest.raises(TooLongError):
        await works.to_voice(io.BytesIO(SAFARI), "audio/mp4", io.BytesIO())


@pytest.mark.parametrize(
    ("mime", "codec", "channels", "fragmented", "asked", "expected"),
    [
        pytest.param("audio/webm", "opus", 1, False, None, Recorded.TO_COPY, id="chrome"),
        pytest.param("audio/webm", "opus", 2, False, None, Recorded.TO_ENCODE, id="two channels"),
        pytest.param("audio/ogg", "opus", 1, False, Asked.VOICE, Recorded.AS_IT_IS, id="firefox"),
        pytest.param("audio/ogg", "opus", 2, False, None, Recorded.TO_ENCODE, id="ogg in stereo"),
        pytest.param("audio/mp4", "aac", 2, True, None, Recorded.TO_ENCODE, id="safari"),
        pytest.param("audio/mp4", "aac", 1, False, None, Recorded.TO_ENCODE, id="voice memo"),
        pytest.param("audio/mp4", "aac", 2, False, None, Recorded.AS_IT_IS, id="song"),
        pytest.param("audio/mp4", "aac", 1, True, Asked.DOCUMENT, Recorded.AS_IT_IS, id="document"),
        pytest.param("audio/mp4", "alac", 1, False, None, Recorded.AS_IT_IS, id="lossless"),
        pytest.param("audio/mpeg", "mp3float", 1, False, None, Recorded.AS_IT_IS, id="mp3"),
        pytest.param(
            "audio/mpeg", "mp3float", 2, False, Asked.VOICE, Recorded.TO_ENCODE, id="asked"
        ),
        pytest.param("video/mp4", "aac", 1, True, None, Recorded.AS_IT_IS, id="video"),
    ],
)
def test_recordings_become_voice_notes_and_music_stays(
    mime: str,
    codec: str,
    channels: int,
    fragmented: bool,
    asked: Asked | None,
    expected: Recorded,
):
    found = recorded(mime, codec=codec, channels=channels, fragmented=fragmented, asked=asked)
    assert found is expected
