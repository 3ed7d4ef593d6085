"""Every sample webhook through the real chain, as REST shows it; then hostile ones beside it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from shared.testing.webhooks import sign
from shared.testing.webhooks.wire import upload
from tests.support.services import Deployment

pytestmark = [pytest.mark.e2e, pytest.mark.integration, pytest.mark.timeout(120)]

Json = dict[str, Any]
PAYLOADS = Path(__file__).parents[1] / "payloads"
NUMBER = "200000000000077"
MEDIA = frozenset({"image", "video", "audio", "document", "sticker"})

# What a message of each sample is shown as: type, text, and members of its content.
SHOWN: dict[str, tuple[str, str | None, Json]] = {
    "msg_audio_voice": ("audio", None, {}),
    "msg_br_ninth_digit": ("text", "oi", {}),
    "msg_button": ("button", "Unsubscribe", {}),
    "msg_contacts": ("contacts", None, {}),
    "msg_document": ("document", "my receipt", {}),
    "msg_future_type": ("unsupported", None, {"raw_type": "hologram"}),
    "msg_group_text": ("text", "What does everyone think?", {}),
    "msg_image": ("image", "My garden", {}),
    "msg_interactive_button_reply": ("interactive", None, {}),
    "msg_interactive_list_reply": ("interactive", None, {}),
    "msg_location_pin": ("location", None, {}),
    "msg_request_welcome": ("system", None, {}),
    "msg_sticker_static": ("sticker", None, {}),
    "msg_system_identity_changed": ("system", "User identity changed", {}),
    "msg_text": ("text", "Does it come in another color?", {}),
    "msg_text_forwarded": ("text", None, {"forwarded": True}),
    "msg_unsupported_131060": ("unsupported", None, {"raw_type": "media_placeholder"}),
    "msg_unsupported_edit": ("unsupported", None, {"raw_type": "edit"}),
    "msg_username_no_phone": ("text", "Hi, no phone here", {}),
    "msg_video": ("video", None, {}),
    "smb_echo_text": ("text", "Sent from the phone app", {}),
}


@dataclass
class Tenant:
    """A tenant with one number, and what its administrator sees."""

    session: aiohttp.ClientSession
    deployment: Deployment
    headers: dict[str, str] = field(default_factory=dict)

    async def call(self, method: str, path: str, body: Json | None = None) -> Any:
        url = self.deployment.url("inbox") + path
        async with self.session.request(method, url, json=body, headers=self.headers) as answer:
            assert answer.status < 300, (path, answer.status, await answer.text())
            return await answer.json()

    async def open(self) -> None:
        mark = f"{time.time_ns()}"
        self.headers = {
            "Authorization": f"Bearer {self.deployment.environment['ATRIO_PLATFORM_TOKEN']}"
        }
        admin = {"email": f"{mark}@payloads.test", "name": "Admin", "password": "secret-of-admin"}
        await self.call("POST", "/v1/platform/tenants", {"name": "Samples", "admin": admin})
        self.headers = {}
        token = await self.call(
            "POST",
            "/v1/auth/token",
            {"email": admin["email"], "password": admin["password"]},
        )
        self.headers = {"Authorization": f"Bearer {token['access_token']}"}
        number = {
            "phone_number_id": NUMBER,
            "display_phone_number": "12025550100",
            "waba_id": "100000000000001",
            "access_token": "token",
            "app": None,
            "team_id": None,
            "bot": None,
        }
        await self.call("POST", "/v1/admin/numbers", number)

    async def post(self, body: bytes, **headers: str) -> int:
        signed = {"X-Hub-Signature-256": sign(body, "app-secret"), **headers}
        url = self.deployment.url("ingest") + "/webhooks/whatsapp"
        async with self.session.post(url, data=upload(body), headers=signed) as answer:
            return answer.status

    async def messages(self) -> dict[str, Json]:
        """All messages of the tenant by wamid."""
        found: dict[str, Json] = {}
        for view in ("on_hold", "closed", "open"):
            page = await self.call("GET", f"/v1/conversations?view={view}&scope=all&limit=100")
            for chat in page["items"]:
                cursor: int | None = None
                while True:
                    before = f"&before={cursor}" if cursor else ""
                    path = f"/v1/conversations/{chat['id']}/messages?limit=100{before}"
                    thread = await self.call("GET", path)
                    found |= {m["wamid"]: m for m in thread["items"]}
                    cursor = thread["next_cursor"]
                    if cursor is None:
                        break
        return found

    async def has(self, wamid: str, seconds: float = 20) -> dict[str, Json]:
        deadline = time.monotonic() + seconds
        while True:
            found = await self.messages()
            if wamid in found:
                return found
            assert time.monotonic() < deadline, f"{len(found)} messages, not the awaited one"
            await asyncio.sleep(0.1)


@pytest.fixture(scope="module")
async def tenant(deployment: Deployment) -> AsyncIterator[Tenant]:
    async with aiohttp.ClientSession() as session:
        opened = Tenant(session, deployment)
        await opened.open()
        await _known(opened)
        yield opened


async def _known(tenant: Tenant) -> None:
    """Waits until ingest knows the number: at most 5 s after the 201."""
    found: dict[str, Json] = {}
    deadline = time.monotonic() + 10
    while not found:
        assert time.monotonic() < deadline
        assert await tenant.post(_text("wamid.first", "first")) == 200
        found = await tenant.messages()
        await asyncio.sleep(0.2)


def _sample(name: str) -> bytes:
    body = (PAYLOADS / f"{name}.json").read_bytes()
    return body.replace(b"200000000000001", NUMBER.encode())


def _wamid(name: str) -> str:
    value = json.loads(_sample(name))["entry"][0]["changes"][0]["value"]
    first: Json = (value.get("messages") or value.get("message_echoes"))[0]
    wamid: str = first["id"]
    return wamid


def _text(wamid: str, words: str, **members: Any) -> bytes:
    message = {
        "from": "12025550199",
        "id": wamid,
        "timestamp": str(int(time.time())),
        "type": "text",
        "text": {"body": words},
        **members,
    }
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"phone_number_id": NUMBER},
        "messages": [message],
    }
    change = {"field": "messages", "value": value}
    entry = {"id": "100000000000001", "changes": [change]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


@pytest.fixture(scope="module")
async def shown(tenant: Tenant) -> dict[str, Json]:
    """Every sample posted twice, as Meta does; what REST shows afterwards."""
    names = sorted(p.stem for p in PAYLOADS.glob("*.json"))
    for _ in range(2):
        for name in names:
            assert await tenant.post(_sample(name)) == 200, name
    assert await tenant.post(_text("wamid.last", "last")) == 200
    await tenant.has("wamid.last")
    for name in SHOWN:
        await tenant.has(_wamid(name))
    return await tenant.messages()


@pytest.mark.parametrize("name", SHOWN)
async def test_a_sample_is_shown_as_what_it_is(shown: dict[str, Json], name: str):
    kind, text, content = SHOWN[name]
    message = shown[_wamid(name)]

    assert kind == message["type"]
    if text is not None:
        assert text == message["text"]
    assert content.items() <= message["content"].items()
    assert ("out" if name.startswith("smb") else "in") == message["direction"]
    assert (message["media"] is not None) == (kind in MEDIA)


async def test_a_batch_keeps_each_of_its_messages(shown: dict[str, Json]):
    value = json.loads(_sample("batch_messages_one_change"))["entry"][0]["changes"][0]["value"]
    texts = {m["id"]: m["text"]["body"] for m in value["messages"]}

    assert texts == {wamid: shown[wamid]["text"] for wamid in texts}


async def test_an_echo_is_shown_as_written_on_the_phone(shown: dict[str, Json]):
    echo = shown[_wamid("smb_echo_text")]

    assert (
        echo["direction"],
        echo["author"]["kind"],
        echo["status"],
    ) == ("out", "phone", "sent")


@pytest.mark.parametrize(
    ("body", "headers", "answer"),
    [
        pytest.param(
            _text("wamid.h1", "x"),
            {"X-Hub-Signature-256": "sha256=" + "0" * 64},
            401,
            id="wrong-signature",
        ),
        pytest.param(b"{" + b" " * (4 * 1024 * 1024) + b"}", {}, 413, id="above-4-mib"),
        pytest.param(b"[" * 100_000, {}, 200, id="deep-nesting"),
        pytest.param(
            b'{"object": 1, "entry": [[], {}, null, {"changes": 7}]}', {}, 200, id="wrong-types"
        ),
        pytest.param(
            _text("wamid.h2", "x", text=[1], timestamp={}, contacts="x"),
            {},
            200,
            id="wrong-members",
        ),
        pytest.param(_text("wamid.h3", "x", type={"a": 1}), {}, 200, id="type-is-no-string"),
        pytest.param(b"\xff\xfe", {}, 200, id="not-utf-8"),
    ],
)
async def test_a_hostile_webhook_stops_nobody(
    tenant: Tenant, body: bytes, headers: dict[str, str], answer: int
):
    neighbour = f"wamid.{time.time_ns()}"

    assert answer == await tenant.post(body, **headers)

    assert await tenant.post(_text(neighbour, "beside it")) == 200
    assert (await tenant.has(neighbour))[neighbour]["text"] == "beside it"


async def test_a_message_with_wrong_members_is_kept_as_unsupported_or_empty(tenant: Tenant):
    body = _text("wamid.odd", "x", type="text", text="no object", context=5)

    assert await tenant.post(body) == 200

    odd = (await tenant.has("wamid.odd"))["wamid.odd"]
    assert odd["type"] in {"text", "unsupported"}
    assert odd["text"] is None
