import asyncio
import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from services.delivery.model import FaultPoint
from shared.contracts.events import BlockOutcome, MediaOutcome
from tests.integration.delivery.conftest import MakePod
from tests.integration.delivery.delivery_rig import (
    NUMBER,
    PHONE_NUMBER_ID,
    GraphControl,
    Log,
    Pod,
    in_record,
    send,
    until,
)
from tests.support.files import boasting, film, picture, recording

pytestmark = pytest.mark.integration

HEIC = b"\x00\x00\x00\x18ftypheic" + bytes(90)
CONTENT = b"a small picture" * 1000
DIGEST = hashlib.sha256(CONTENT)


def read(**changes: Any) -> dict[str, Any]:
    return {"conversation_id": "chat-1", "number_id": NUMBER, "wamid": "wamid.X"} | changes


def block(**changes: Any) -> dict[str, Any]:
    return {
        "contact_id": "contact-1",
        "number_id": NUMBER,
        "recipient": {"wa_id": "12025550111"},
        "blocked": True,
    } | changes


def fetch(media_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "message_id": "m1",
        "conversation_id": "chat-1",
        "number_id": NUMBER,
        "whatsapp_media_id": media_id,
        "mime_type": "image/jpeg",
        "sha256": base64.b64encode(DIGEST.digest()).decode(),
    } | changes


async def held(graph: GraphControl, content: bytes = CONTENT) -> str:
    body = {
        "phone_number_id": PHONE_NUMBER_ID,
        "mime_type": "image/jpeg",
        "data_base64": base64.b64encode(content).decode(),
    }
    return str((await graph.call("POST", "/media", body))["id"])


async def requests(graph: GraphControl, call: str) -> list[dict[str, Any]]:
    found = await graph.call("GET", f"/requests?call={call}")
    return list(found["items"])


async def finished(pod: Pod) -> None:
    async with asyncio.timeout(8):
        while await pod.engine.call_records.open_records(range(12)):  # noqa: ASYNC110 - a poll
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(("typing", "call"), [(False, "read"), (True, "typing")])
async def test_read_is_told_to_whatsapp_without_an_event(
    pod: Pod, graph: GraphControl, events: Log, typing: bool, call: str
):
    await pod.take_in(in_record("message.read", read(typing=typing)))
    await finished(pod)
    (request,) = await requests(graph, call)
    assert request["body"]["status"] == "read"
    assert request["body"]["message_id"] == "wamid.X"
    assert not events.records


async def test_call_is_repeated_until_it_is_done(pod: Pod, graph: GraphControl):
    await graph.fault(error=131016, match={"call": "read"}, times=1)
    await pod.take_in(in_record("message.read", read()))
    await finished(pod)
    assert len(await requests(graph, "read")) == 2


async def test_block_is_told_with_its_outcome(pod: Pod, graph: GraphControl, events: Log):
    await graph.call(
        "POST",
        "/inbound",
        {"phone_number_id": PHONE_NUMBER_ID, "from": "12025550111", "text": "hola"},
    )
    await pod.take_in(in_record("contact.block", block(), key="contact-1"))
    await until(events.events)
    ((envelope, data),) = events.events()
    outcome = BlockOutcome.model_validate(data)
    assert (envelope.type, outcome.error) == ("block.done", None)
    assert (outcome.contact_id, outcome.blocked) == ("contact-1", True)


async def test_refused_block_tells_the_users_own_reason(pod: Pod, graph: GraphControl, events: Log):
    await graph.fault(error=139101, match={"call": "block"})
    await pod.take_in(in_record("contact.block", block()))
    await until(lambda: events.events("block.failed"))
    assert events.events()[0][1]["error"]["code"] == 139101


@pytest.mark.parametrize(
    ("content", "mime", "width", "height", "long"),
    [
        pytest.param(CONTENT, "image/jpeg", None, None, False, id="not what it says"),
        pytest.param(picture("JPEG"), "image/jpeg", 640, 480, False, id="picture"),
        pytest.param(picture("GIF"), "image/gif", 640, 480, False, id="gif"),
        pytest.param(recording("ogg", "libopus"), "audio/ogg", None, None, True, id="voice note"),
        pytest.param(film(turned=90), "video/mp4", 240, 320, True, id="film"),
        pytest.param(boasting(2**30), "audio/mp4", None, None, False, id="sound that unfolds"),
        pytest.param(HEIC, "image/heic", None, None, False, id="heic"),
        pytest.param(b"PK\x03\x04" + bytes(90), "application/zip", None, None, False, id="zip"),
        pytest.param(b"?", "x-unknown/x-y; a=b", None, None, False, id="unknown"),
    ],
)
async def test_incoming_file_of_any_kind_is_stored_and_measured(
    pod: Pod,
    graph: GraphControl,
    events: Log,
    tmp_path: Path,
    content: bytes,
    mime: str,
    width: int | None,
    height: int | None,
    long: bool,
):
    digest = hashlib.sha256(content).hexdigest()
    media = await held(graph, content)
    await pod.take_in(in_record("media.fetch", fetch(media, mime_type=mime, sha256=digest)))
    await until(events.events)
    ((envelope, data),) = events.events()
    outcome = MediaOutcome.model_validate(data)
    assert envelope.type == "media.ready"
    assert (outcome.size, outcome.sha256) == (len(content), digest)
    assert (outcome.mime_type, outcome.width, outcome.height) == (mime, width, height)
    assert (outcome.duration_ms is not None) is long
    assert outcome.media_id
    stored = tmp_path / "data" / "media" / "acme" / digest
    assert stored.read_bytes() == content


async def test_file_with_another_digest_is_asked_for_again(
    pod: Pod, graph: GraphControl, events: Log, tmp_path: Path
):
    media = await held(graph)
    await pod.take_in(in_record("media.fetch", fetch(media, sha256="00" * 32)))
    async with asyncio.timeout(8):
        while len(await requests(graph, "media_download")) < 2:
            pod.advance(5)
            await asyncio.sleep(0.02)
    assert not events.events("media.ready")
    assert not (tmp_path / "data" / "media" / "acme").exists()


async def test_expired_address_is_asked_for_again(pod: Pod, graph: GraphControl, events: Log):
    media = await held(graph)
    old = f"{graph.url}/whatsapp_business/attachments/?mid={media}&ext=1&hash=0"
    await pod.take_in(in_record("media.fetch", fetch(media, url=old)))
    await until(lambda: events.events("media.ready"))
    assert len(await requests(graph, "media_get")) == 1


async def test_address_of_a_foreign_host_is_passed_over(pod: Pod, graph: GraphControl, events: Log):
    media = await held(graph)
    for url in ("http://10.0.0.1/x", "//nowhere"):
        await pod.take_in(in_record("media.fetch", fetch(media, url=url)))
    await until(lambda: len(events.events("media.ready")) == 2)


async def test_file_above_the_limit_fails(make_pod: MakePod, graph: GraphControl, events: Log):
    pod = make_pod(media_largest=100)
    await pod.start()
    await pod.take_in(in_record("media.fetch", fetch(await held(graph))))
    await until(lambda: events.events("media.failed"))
    assert events.events()[0][1]["error"]["code"] == "too_large"


async def test_fetch_of_a_file_that_is_gone_fails(pod: Pod, graph: GraphControl, events: Log):
    await pod.take_in(in_record("media.fetch", fetch("999")))
    await until(lambda: events.events("media.failed"))
    assert events.events()[0][1]["error"]["code"] == 100


async def test_crash_after_storing_a_call_loses_nothing(
    make_pod: MakePod, graph: GraphControl, events: Log
):
    first = make_pod()
    first.faults.crash_at = FaultPoint.INTAKE_STORED
    await first.start()
    await first.take_in(in_record("media.fetch", fetch(await held(graph))))
    await first.crashed.wait()
    second = make_pod()
    await second.start()
    await until(lambda: events.events("media.ready"))


def with_file(message: str, seq: int, **changes: Any) -> dict[str, Any]:
    media = {
        "id": "file-1",
        "mime_type": "image/jpeg",
        "sha256": DIGEST.hexdigest(),
        "size": len(CONTENT),
    }
    return {"type": "image", "body": {"caption": message}, "media": media} | changes


async def stored(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "media" / "acme"
    folder.mkdir(parents=True)
    (folder / DIGEST.hexdigest()).write_bytes(CONTENT)


async def test_file_is_uploaded_once_per_number_and_sent_by_id(
    pod: Pod, graph: GraphControl, events: Log, tmp_path: Path
):
    await stored(tmp_path)
    await graph.call("PATCH", "/limits", {"media": True})
    await pod.take_in(send("m1", 1, **with_file("m1", 1)), send("m2", 2, **with_file("m2", 2)))
    await until(lambda: events.outcomes("m2"))
    assert events.outcomes("m1") == events.outcomes("m2") == ["send.accepted"]
    assert len(await requests(graph, "media_upload")) == 1
    first, second = await graph.sends()
    assert first["image"]["id"] == second["image"]["id"]
    assert first["image"]["caption"] == "m1"


async def test_regression_an_upload_tells_its_length(
    pod: Pod, graph: GraphControl, events: Log, tmp_path: Path
):
    await stored(tmp_path)
    await pod.take_in(send("m1", 1, **with_file("m1", 1)))
    await until(lambda: events.outcomes("m1") == ["send.accepted"])
    (upload,) = await requests(graph, "media_upload")
    assert "transfer-encoding" not in upload["headers"]
    assert int(upload["headers"]["content-length"]) > len(CONTENT)


async def test_missing_file_fails_without_a_post(pod: Pod, graph: GraphControl, events: Log):
    await pod.take_in(send("m1", 1, **with_file("m1", 1)), send("m2", 2))
    await until(lambda: events.outcomes("m2"))
    assert events.outcomes("m1") == ["send.failed"]
    assert len(await graph.sends()) == 1


async def test_upload_that_fails_is_repeated(
    pod: Pod, graph: GraphControl, events: Log, tmp_path: Path
):
    await stored(tmp_path)
    await graph.fault(drop="after_accept", match={"call": "media_upload"}, times=1)
    await pod.take_in(send("m1", 1, **with_file("m1", 1)))
    await until(lambda: events.outcomes("m1") == ["send.accepted"])
    assert len(await requests(graph, "media_upload")) == 2
