import asyncio
import base64
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.graph.graph_client import SECRET, Graph

PAYLOADS = Path(__file__).parents[2] / "payloads"
MSG_TEXT = json.loads((PAYLOADS / "msg_text.json").read_text())
RAW = (PAYLOADS / "raw" / "msg_text_unicode.body").read_bytes()


async def test_text_comes_in_the_shape_of_the_sample(graph: Graph) -> None:
    told = await graph.control("POST", "inbound", {"text": "¿Qué tal? 🙂"})
    await graph.idle()
    [hook] = graph.receiver.hooks
    assert hook.signed_with(SECRET)
    assert b"\\u00bfQu\\u00e9 tal? \\ud83d\\ude42" in hook.body
    [message] = hook.messages()
    sample = MSG_TEXT["entry"][0]["changes"][0]["value"]
    assert set(message) == set(sample["messages"][0])
    assert hook.values()[0]["contacts"] == sample["contacts"]
    assert hook.values()[0]["metadata"] == sample["metadata"]
    assert (message["id"], message["text"]["body"]) == (told["wamid"], "¿Qué tal? 🙂")


async def test_customer_without_a_phone_has_no_phone_members(graph: Graph) -> None:
    await graph.control(
        "POST", "inbound", {"user_id": "ES.123", "username": "luis", "text": "hola"}
    )
    await graph.idle()
    value = graph.receiver.hooks[0].values()[0]
    assert "from" not in value["messages"][0]
    assert value["messages"][0]["from_user_id"] == "ES.123"
    assert "wa_id" not in value["contacts"][0]
    assert value["contacts"][0]["profile"]["username"] == "luis"


async def test_customer_keeps_the_bsuid_made_from_the_phone(graph: Graph) -> None:
    first = await graph.control("POST", "inbound", {"from": "+34 600 000 001", "text": "a"})
    again = await graph.control("POST", "inbound", {"from": "34600000001", "text": "b"})
    legacy = {"from": "34600000002", "user_id": None, "text": "c"}
    assert first["user_id"] == again["user_id"]
    assert (await graph.control("POST", "inbound", legacy))["user_id"] is None


@pytest.mark.parametrize("kind", ["image", "video", "audio", "document", "sticker"])
async def test_media_can_be_downloaded_from_its_url(graph: Graph, kind: str) -> None:
    data = base64.b64encode(b"some bytes").decode()
    told = await graph.control("POST", "inbound", {"type": kind, "data_base64": data})
    await graph.idle()
    content = graph.receiver.messages()[0][kind]
    assert content["id"] == told["media_id"]
    headers = {"Authorization": "Bearer t"}
    async with graph.http.get(content["url"], headers=headers) as answer:
        assert await answer.read() == b"some bytes"
    status, shown = await graph.call("GET", content["id"])
    assert (status, shown["mime_type"]) == (200, content["mime_type"])


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        pytest.param(
            {"type": "location", "content": {"latitude": 1, "longitude": 2}}, "location", id="place"
        ),
        pytest.param({"type": "request_welcome"}, "request_welcome", id="welcome"),
        pytest.param({"type": "teleport", "content": {"x": 1}}, "teleport", id="future type"),
        pytest.param({"text": "yes", "reply_to": "wamid.q"}, "text", id="reply"),
    ],
)
async def test_any_type_can_be_written(graph: Graph, body: Any, kind: str) -> None:
    await graph.control("POST", "inbound", body)
    await graph.idle()
    [message] = graph.receiver.messages()
    assert message["type"] == kind
    if "reply_to" in body:
        assert message["context"] == {"from": "12025550100", "id": "wamid.q"}


async def test_same_id_again_is_a_duplicate(graph: Graph) -> None:
    told = await graph.control("POST", "inbound", {"text": "x"})
    await graph.control("POST", "inbound", {"text": "x", "id": told["wamid"]})
    await graph.idle()
    assert len({message["id"] for message in graph.receiver.messages()}) == 1


async def test_waiting_tells_whether_the_receiver_took_it(graph: Graph) -> None:
    graph.receiver.answers[:] = [503]
    told = await graph.control("POST", "inbound", {"text": "x", "wait": True})
    assert told["webhook"] == "RETRYING"
    await graph.control("POST", "webhooks/flush")
    await graph.idle()
    told = await graph.control("POST", "inbound", {"text": "x", "wait": True})
    assert told["webhook"] == "DELIVERED"


@pytest.mark.parametrize(
    "body", [{}, {"type": "order"}, {"type": "image", "media_id": "0"}, {"tex": ""}]
)
async def test_inbound_that_says_nothing_is_refused(graph: Graph, body: Any) -> None:
    async with graph.http.post(f"{graph.url}/_control/inbound", json=body) as answer:
        assert answer.status == 422


@pytest.mark.parametrize("query", ["", "?raw=1"])
async def test_payload_is_delivered_as_meta_writes_it(graph: Graph, query: str) -> None:
    async with graph.http.post(f"{graph.url}/_control/webhook{query}", data=RAW) as answer:
        assert answer.status == 202
    await graph.idle()
    [hook] = graph.receiver.hooks
    assert hook.body == RAW
    assert hook.signed_with(SECRET)


async def run_cli(*arguments: str, **environment: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "shared.testing.graph",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | environment,
        cwd=Path(__file__).parents[3],
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_command_line_plays_a_customer(graph: Graph, tmp_path: Path) -> None:
    photo = tmp_path / "cat.png"
    photo.write_bytes(b"png")
    code, output = await run_cli("--url", graph.url, "inbound", "miau", "--file", str(photo))
    assert (code, json.loads(output)["webhook"]) == (0, "DELIVERED")
    image = graph.receiver.messages()[0]["image"]
    assert (image["caption"], image["mime_type"]) == ("miau", "image/png")
    code, output = await run_cli("--url", graph.url, "state")
    assert json.loads(output)["webhooks"]["delivered"] == 1


async def test_command_line_says_when_nothing_answers() -> None:
    code, output = await run_cli("--url", "http://127.0.0.1:9", "state")
    assert code == 1
    assert "is the fake Graph server running?" in output


async def test_process_is_ready_and_stops_on_sigterm(graph: Graph) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "shared.testing.graph",
        env=os.environ | {"ATRIO_GRAPH_PORT": str(port)},
        cwd=Path(__file__).parents[3],
    )
    try:
        async with asyncio.timeout(20):
            while not await alive(graph, port):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()


async def alive(graph: Graph, port: int) -> bool:
    try:
        async with graph.http.get(f"http://127.0.0.1:{port}/readyz") as answer:
            return answer.status == 200
    except OSError:
        return False
