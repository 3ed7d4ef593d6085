"""Files as they are asked for: as M4A, and by addresses that need no header."""

import asyncio
import hashlib
import io
from urllib.parse import parse_qs, urlsplit

import av
import pytest

from shared.blobs.store import M4A, BlobStore
from tests.integration.inbox.conversations.meta import received
from tests.integration.inbox.conversations.office import Office
from tests.support.files import bomb, picture, recording

pytestmark = pytest.mark.integration


async def test_a_voice_note_is_given_as_m4a(shared_office: Office):
    office = shared_office
    chat = await office.opened_by(office.ana)
    content = recording("ogg", "libopus")
    note = await received(office, chat, content, "audio/ogg; codecs=opus")
    path = f"/media/{note}?format=m4a"

    whole, same = await asyncio.gather(office.ana("GET", path), office.ana("GET", path))
    assert whole.status == 200, whole.raw
    assert whole.raw == same.raw
    assert whole.headers["content-type"] == "audio/mp4"
    assert whole.headers["content-disposition"].startswith('inline; filename="file.m4a"')
    digest = hashlib.sha256(content).hexdigest()
    assert whole.headers["etag"] == f'"{digest}-m4a"'
    with av.open(io.BytesIO(whole.raw), format="mp4") as made:
        assert made.streams.audio[0].codec_context.name == "aac"
        assert made.duration is not None
        assert 990_000 < made.duration < 1_060_000
    blobs = BlobStore("", office.tenant.inbox.settings.media_folder)
    assert await blobs.size(office.tenant.id, digest, variant=M4A) == len(whole.raw)

    part = await office.ana("GET", path, range="bytes=4-11")
    assert (part.status, part.raw) == (206, b"ftypM4A ")
    assert part.headers["content-range"] == f"bytes 4-11/{len(whole.raw)}"
    fresh = await office.ana("GET", path, if_none_match=whole.headers["etag"])
    assert fresh.status == 304
    assert (await office.ana("GET", f"/media/{note}")).raw == content
    assert (await office.bea("GET", path)).code == "not_found"
    link = (await office.ana("POST", f"/media/{note}/url")).body["url"]
    assert (await office.tenant.inbox.http("GET", link + "&format=m4a")).raw == whole.raw


@pytest.mark.parametrize(
    ("content", "mime", "code"),
    [
        pytest.param(picture(), "image/png", "not_allowed", id="picture"),
        pytest.param(b"%PDF-", "application/pdf", "not_allowed", id="document"),
        pytest.param(b"?", "audio/x-unknown", "not_allowed", id="unknown sound"),
        pytest.param(b"OggS" + bytes(90), "audio/ogg", "unreadable", id="broken sound"),
    ],
)
async def test_what_is_no_sound_is_not_given_as_m4a(
    shared_office: Office, content: bytes, mime: str, code: str
):
    office = shared_office
    chat = await office.opened_by(office.ana)
    media = await received(office, chat, content, mime)
    refused = await office.ana("GET", f"/media/{media}?format=m4a")
    assert (refused.status, refused.code) == (422, "validation")
    assert refused.body["errors"] == [{"field": "format", "code": code}]
    assert (await office.ana("GET", f"/media/{media}")).raw == content


async def test_a_picture_that_unfolds_has_no_small_one(shared_office: Office):
    office = shared_office
    chat = await office.opened_by(office.ana)
    media = await received(office, chat, bomb(), "image/png")
    refused = await office.ana("GET", f"/media/{media}?size=thumb")
    assert refused.body["errors"] == [{"field": "size", "code": "not_allowed"}]


@pytest.mark.parametrize("name", ["..%2F..%2Fetc", "%2e%2e", "AB", "a" * 65, "..", "0.thumb"])
async def test_a_name_that_is_no_id_leads_nowhere(shared_office: Office, name: str):
    for path in (f"/media/{name}", f"/media/{name}?format=m4a"):
        refused = await shared_office.ana("GET", path)
        assert (refused.status, refused.code) in {(422, "validation"), (404, "not_found")}


async def test_what_is_m4a_is_given_as_it_is(shared_office: Office):
    office = shared_office
    chat = await office.opened_by(office.ana)
    content = recording("mp4", "aac")
    media = await received(office, chat, content, "audio/mp4")
    assert (await office.ana("GET", f"/media/{media}?format=m4a")).raw == content


async def test_a_link_ends_with_the_sight_of_the_chat_and_with_the_session(shared_office: Office):
    office = shared_office
    stranger = office.tenant.inbox.http
    chat = await office.opened_by(office.ana)
    content = picture()
    media = await received(office, chat, content, "image/png")
    _, supervisor = await office.tenant.agent("supervisor")
    anas = (await office.ana("POST", f"/media/{media}/url")).body["url"]
    theirs = (await supervisor("POST", f"/v1/media/{media}/url")).body["url"]
    for link in (anas, theirs):
        assert (await stranger("GET", link)).raw == content
        names = parse_qs(urlsplit(link).query)
        for name in names:
            forged = link.replace(names[name][0], names[name][0][:-1] + "0")
            if forged != link:
                assert (await stranger("GET", forged)).code == "not_found"

    moved = await office.ana.act(chat, "transfer", agent_id=office.bea.id)
    assert moved.status == 200, moved.raw
    assert (await stranger("GET", anas)).code == "not_found"
    assert (await stranger("GET", theirs)).raw == content

    assert (await supervisor("POST", "/v1/auth/logout")).status == 204
    ended = await stranger("GET", theirs)
    assert (ended.status, ended.code) == (401, "unauthorized")
