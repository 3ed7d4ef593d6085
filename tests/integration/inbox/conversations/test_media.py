"""Files both ways: the real inbox and delivery, and the fake Graph server as WhatsApp."""

import asyncio
import base64
import hashlib
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import psutil
import pytest
from PIL import Image

from services.inbox.app.foundation import now
from services.inbox.gateways.pictures import Pictures
from services.inbox.gateways.sounds import Sounds
from services.inbox.model.conversation import Media
from services.inbox.model.items import Body
from services.inbox.model.people import Person
from services.inbox.storage.media import MediaStore
from services.inbox.workflows.uploads import Uploads
from shared.blobs.store import BlobStore
from shared.contracts.views import Role
from tests.integration.inbox.conversations.meta import Meta, upload
from tests.integration.inbox.conversations.office import Member, Office
from tests.integration.inbox.inbox_rig import DEADLINE_SECONDS
from tests.support.files import FORM_TYPE, FRAGMENTED, boasting, bomb, form, picture, recording

pytestmark = pytest.mark.integration


async def ready(member: Member, conversation: str, state: str = "ready") -> dict[str, Any]:
    """The newest message once its file is in this state."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            answer = await member("GET", f"/conversations/{conversation}/messages?limit=1")
            message = dict(answer.body["items"][0])
            if message["media"] is not None and message["media"]["state"] == state:
                return message
            await asyncio.sleep(0.05)


async def receive(office: Office, conversation: str, media: Media) -> str:
    """The customer sends a file; the id that it will have."""
    item = office.incoming((await office.document(conversation))["number"], "")
    media_id = office.base.ids.of("media", office.tenant.id, item.id)
    body = Body("document", None, replace(media, id=media_id), {})
    await office.fold(conversation, [replace(item, body=body)])
    return str(media_id)


async def test_an_upload_arrives_at_whatsapp_as_it_was(shared_office: Office, meta: Meta):
    office = shared_office
    chat = await office.opened_by(office.ana)
    content = picture("JPEG")
    made = await upload(office.ana, content, "../../etc/photo.exe")
    assert made.status == 201, made.raw
    digest = hashlib.sha256(content).hexdigest()
    assert made.body == {
        "id": made.body["id"],
        "mime_type": "image/jpeg",
        "size": len(content),
        "sha256": digest,
        "kind": "image",
        "filename": "photo.exe.jpg",
        "width": 640,
        "height": 480,
        "duration_ms": None,
    }
    path = f"/media/{made.body['id']}"
    assert (await office.ana("GET", path)).raw == content
    for other in (office.bea, office.sue):
        assert (await other("GET", path)).code == "not_found"
        assert (await other("POST", f"{path}/url")).code == "not_found"
    other_chat = await office.opened_by(office.bea)
    refused = await office.bea.send(
        other_chat, type="image", text=None, media={"id": made.body["id"]}
    )
    assert refused.code == "unknown_media"

    sent = await office.ana.send(chat, type="image", text="Mira", media={"id": made.body["id"]})
    assert sent.status == 202, sent.raw
    assert sent.body["media"]["width"] == 640
    body = await meta.sent(sent.body["id"])
    assert body["type"] == "image"
    assert body["image"]["caption"] == "Mira"
    assert await meta.content(body["image"]["id"]) == ("image/jpeg", digest)
    assert (await office.sue("GET", path)).raw == content
    assert (await office.bea("GET", path)).code == "not_found"


@pytest.mark.parametrize(
    ("recorded", "name", "query"),
    [
        pytest.param(recording("webm", "libopus"), "note.webm", "", id="chrome"),
        pytest.param(recording("mp4", "aac", options=FRAGMENTED), "note.mp4", "", id="safari"),
        pytest.param(recording("mp3", "libmp3lame"), "note.mp3", "?kind=voice", id="asked for"),
    ],
)
async def test_a_recording_of_a_browser_goes_as_a_voice_note(
    shared_office: Office, meta: Meta, recorded: bytes, name: str, query: str
):
    office = shared_office
    chat = await office.opened_by(office.ana)
    made = await upload(office.ana, recorded, name, query)
    assert made.status == 201, made.raw
    assert (made.body["mime_type"], made.body["filename"]) == ("audio/ogg", f"{name}.ogg")
    assert made.body["kind"] == "audio"
    assert 900 < made.body["duration_ms"] < 1100
    sent = await office.ana.send(
        chat, type="audio", text=None, media={"id": made.body["id"], "voice": True}
    )
    assert sent.status == 202, sent.raw
    body = await meta.sent(sent.body["id"])
    assert body["audio"]["voice"] is True
    assert await meta.content(body["audio"]["id"]) == ("audio/ogg", made.body["sha256"])


async def test_an_incoming_file_is_served_in_parts_and_small(shared_office: Office, meta: Meta):
    office = shared_office
    chat = await office.opened_by(office.ana)
    content = picture("PNG", (1200, 800))
    digest = hashlib.sha256(content)
    held = await meta(
        "POST",
        "/media",
        {"mime_type": "image/png", "data_base64": base64.b64encode(content).decode()},
    )
    incoming = Media(
        state="pending",
        whatsapp_id=held["id"],
        mime_type="image/png",
        sha256=base64.b64encode(digest.digest()).decode(),
        filename="niño\u202e/..\\ma\r\npa.html",
    )
    media_id = await receive(office, chat, incoming)
    message = await ready(office.ana, chat)
    assert message["media"]["id"] == media_id
    path = f"/media/{media_id}"

    whole = await office.ana("GET", path)
    assert (whole.status, whole.raw) == (200, content)
    assert whole.headers["content-type"] == "image/png"
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert whole.headers["etag"] == f'"{digest.hexdigest()}"'
    assert whole.headers["content-disposition"] == (
        "inline; filename=\"mapa.html.png\"; filename*=UTF-8''mapa.html.png"
    )
    part = await office.ana("GET", path, range="bytes=10-19")
    assert (part.status, part.raw) == (206, content[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(content)}"
    assert (await office.ana("GET", path, range="bytes=-5")).raw == content[-5:]
    beyond = await office.ana("GET", path, range=f"bytes={len(content)}-")
    assert (beyond.status, beyond.code) == (416, "range_not_satisfiable")
    assert beyond.headers["content-range"] == f"bytes */{len(content)}"
    fresh = await office.ana("GET", path, if_none_match=whole.headers["etag"])
    assert (fresh.status, fresh.raw) == (304, b"")
    changed = await office.ana("GET", path, range="bytes=10-19", if_range='"other"')
    assert changed.status == 200

    for _ in range(2):  # made, then kept
        small = await office.ana("GET", f"{path}?size=thumb")
        assert small.headers["content-type"] == "image/webp"
        with Image.open(io.BytesIO(small.raw)) as thumb:
            assert thumb.size == (320, 213)

    link = (await office.ana("POST", f"{path}/url")).body
    stranger = office.tenant.inbox.http
    assert link["expires_in"] == 300
    assert (await stranger("GET", link["url"])).raw == content
    assert (await stranger("GET", link["url"] + "&size=thumb")).raw == small.raw
    assert (await stranger("GET", link["url"] + "0")).code == "not_found"
    assert (await stranger("GET", f"/v1{path}")).status == 401

    assert (await office.sue("GET", path)).status == 200
    assert (await office.bea("GET", path)).code == "not_found"
    elsewhere = await office.tenant.inbox.tenant()
    assert (await elsewhere.admin("GET", f"/v1{path}")).code == "not_found"


async def test_a_file_that_is_not_there_says_why(shared_office: Office, meta: Meta):
    office = shared_office
    chat = await office.opened_by(office.ana)
    pending = await receive(office, chat, Media(state="pending", mime_type="image/png"))
    refused = await office.ana("GET", f"/media/{pending}")
    assert (refused.status, refused.code) == (409, "media_pending")
    failed = await receive(office, chat, Media(state="failed"))
    refused = await office.ana("GET", f"/media/{failed}")
    assert (refused.status, refused.code) == (409, "media_failed")
    assert (await office.bea("GET", f"/media/{pending}")).code == "not_found"


SPOILED = recording("mp4", "aac", options=FRAGMENTED)
SPOILED = SPOILED[: SPOILED.index(b"mdat") + 4] + b"\x55" * 300
HTML = b"<!DOCTYPE html><script>alert(1)</script>"


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        pytest.param(HTML, 415, "unsupported_media_type", id="page that says it is a picture"),
        pytest.param(b"MZ\x90\x00" + bytes(5000), 415, "unsupported_media_type", id="program"),
        pytest.param(b"GIF89a" + bytes(50), 415, "unsupported_media_type", id="not for WhatsApp"),
        pytest.param(
            b"\x89PNG\r\n\x1a\n" + bytes(90), 415, "unsupported_media_type", id="broken picture"
        ),
        pytest.param(b"", 422, "validation", id="empty"),
        pytest.param(boasting(2_000_000), 415, "unsupported_media_type", id="claims too much"),
        pytest.param(SPOILED, 422, "validation", id="sound that cannot be decoded"),
    ],
)
async def test_what_cannot_be_sent_is_refused(
    shared_office: Office, content: bytes, status: int, code: str
):
    answer = await upload(shared_office.ana, content, "photo.jpg")
    assert (answer.status, answer.code) == (status, code)


async def test_what_is_too_large_is_refused_with_its_limit(shared_office: Office):
    ana = shared_office.ana
    large = picture("JPEG") + bytes(5 * 2**20)
    refused = await upload(ana, large)
    assert (refused.status, refused.code) == (413, "too_large")
    assert (refused.body["limit"], refused.body["kind"]) == (5 * 2**20, "image")
    document = await upload(ana, large, query="?kind=document")
    assert (document.status, document.body["kind"]) == (201, "document")
    chat = await shared_office.opened_by(ana)
    sent = await ana.send(chat, type="image", text=None, media={"id": document.body["id"]})
    assert sent.body["errors"] == [{"field": "media.id", "code": "too_large", "limit": 5 * 2**20}]

    unfolding = await upload(ana, bomb())
    assert unfolding.body["errors"] == [
        {"field": "file", "code": "too_many_pixels", "limit": 40_000_000}
    ]
    cut = form(picture())[:-40]
    broken = await ana("POST", "/media", cut, content_type=FORM_TYPE)
    assert broken.body["errors"] == [{"field": "", "code": "invalid_multipart"}]
    assert (await ana("POST", "/media", {"file": "x"})).code == "validation"


async def test_a_large_file_is_never_whole_in_memory(shared_office: Office):
    office = shared_office
    database, settings = office.base.database, office.tenant.inbox.settings
    blobs = BlobStore("", settings.media_folder)
    uploads = Uploads(MediaStore(database), blobs, Pictures(), Sounds(), now)
    process = psutil.Process()
    largest = 0

    async def pieces(number: int) -> AsyncIterator[bytes]:
        nonlocal largest
        for _ in range(number):
            largest = max(largest, process.memory_info().rss)
            yield b"hola mundo;1\n" * 5041

    person = Person(office.ana.id, office.tenant.id, "Ana", Role.AGENT, ())
    await uploads.take(person, "small.csv", pieces(10))  # what is loaded once is loaded
    before = process.memory_info().rss
    made = await uploads.take(person, "large.csv", pieces(1590))
    size = 0
    async for piece in await blobs.stream(office.tenant.id, made.file.sha256):
        size += len(piece)
        largest = max(largest, process.memory_info().rss)
    await blobs.delete(office.tenant.id, made.file.sha256)
    assert size == made.file.size > 99 * 2**20
    assert largest - before < 64 * 2**20
