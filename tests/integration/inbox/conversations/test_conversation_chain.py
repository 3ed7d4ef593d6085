"""From an agent's call to WhatsApp: the real inbox and delivery, the exact body of each type."""

from typing import Any, Final

import pytest

from tests.integration.inbox.conversations.meta import Meta, upload
from tests.integration.inbox.conversations.office import Office
from tests.support.files import film, picture, recording

pytestmark = pytest.mark.integration

LOCATION: Final = {"latitude": 19.4, "longitude": -99.1, "name": "Zócalo", "address": "Centro"}
CONTACTS: Final = [
    {
        "name": {"formatted_name": "Luz Gil", "first_name": "Luz"},
        "phones": [{"phone": "+52 1 55 5555 0100", "type": "CELL"}],
    }
]
BUTTONS: Final = {
    "type": "button",
    "body": {"text": "¿Seguimos?"},
    "action": {"buttons": [{"type": "reply", "reply": {"id": "y", "title": "Sí"}}]},
}
LIST: Final = {
    "type": "list",
    "body": {"text": "Elija"},
    "action": {
        "button": "Horas",
        "sections": [{"title": "Hoy", "rows": [{"id": "9", "title": "9:00"}]}],
    },
}
LINK: Final = {
    "type": "cta_url",
    "body": {"text": "Su pedido"},
    "action": {
        "name": "cta_url",
        "parameters": {"display_text": "Ver", "url": "https://shop.test/pedido/7"},
    },
}
WHERE: Final = {
    "type": "location_request_message",
    "body": {"text": "¿Dónde está?"},
    "action": {"name": "send_location"},
}
TEMPLATE: Final = {
    "name": "order_update",
    "language": {"code": "es"},
    "components": [{"type": "body", "parameters": [{"type": "text", "text": "Ana"}]}],
}
# In the agent's call the customer's message is its id, in the body its wamid; a file is ours in
# the call, and Meta's in the body.
QUOTED: Final = "<quoted>"
FILE: Final = "<file>"
TABLE: Final[tuple[tuple[str, dict[str, Any], Any], ...]] = (
    ("text", {"text": "Hola, ¿qué tal? 👋"}, {"body": "Hola, ¿qué tal? 👋"}),
    ("text", {"text": "Claro", "reply_to": QUOTED}, {"body": "Claro"}),
    (
        "reaction",
        {"reaction": {"message_id": QUOTED, "emoji": "👍"}},
        {"message_id": QUOTED, "emoji": "👍"},
    ),
    ("location", {"location": LOCATION}, LOCATION),
    ("contacts", {"contacts": CONTACTS}, CONTACTS),
    ("interactive", {"interactive": BUTTONS}, BUTTONS),
    ("interactive", {"interactive": LIST}, LIST),
    ("interactive", {"interactive": LINK}, LINK),
    ("interactive", {"interactive": WHERE}, WHERE),
    (
        "reaction",
        {"reaction": {"message_id": QUOTED, "emoji": ""}},
        {"message_id": QUOTED, "emoji": ""},
    ),
    ("template", {"template": TEMPLATE}, TEMPLATE),
    ("image", {"text": "Mira", "media": {"id": "jpg"}}, {"id": FILE, "caption": "Mira"}),
    ("video", {"media": {"id": "mp4"}, "reply_to": QUOTED}, {"id": FILE}),
    ("audio", {"media": {"id": "mp3"}}, {"id": FILE}),
    ("audio", {"media": {"id": "ogg", "voice": True}}, {"id": FILE, "voice": True}),
    ("sticker", {"media": {"id": "webp"}}, {"id": FILE}),
    (
        "document",
        {"text": "El plano", "media": {"id": "pdf", "filename": "plano.pdf"}},
        {"id": FILE, "caption": "El plano", "filename": "plano.pdf"},
    ),
)
PDF: Final = b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n"


async def test_each_type_arrives_at_whatsapp_as_the_agent_sent_it(
    shared_office: Office, meta: Meta
):
    office = shared_office
    chat = await office.opened_by(office.ana)
    thread = await office.ana("GET", f"/conversations/{chat}/messages")
    quoted = thread.body["items"][0]
    contents = {
        "jpg": picture("JPEG"),
        "mp4": film(),
        "mp3": recording("mp3", "libmp3lame"),
        "ogg": recording("ogg", "libopus"),
        "webp": picture("WEBP", (512, 512)),
        "pdf": PDF,
    }
    files = {}
    for name, content in contents.items():
        made = await upload(office.ana, content, f"file.{name}")
        assert made.status == 201, made.raw
        files[name] = made.body
    to = "+" + (await office.document(chat))["contact"]["wa_id"]
    expected = []
    for kind, call, content in TABLE:
        media = files[call["media"]["id"]] if "media" in call else None
        members = {"text": None, **_with(call, quoted["id"], media), "type": kind}
        sent = await office.ana.send(chat, **members)
        assert sent.status == 202, sent.raw
        body = {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            "to": to,
            "type": kind,
            kind: _put(content, {QUOTED: quoted["wamid"]}),
            "biz_opaque_callback_data": sent.body["id"],
        }
        if "reply_to" in call:
            body["context"] = {"message_id": quoted["wamid"]}
        expected.append(body)
    bodies = await meta.sent_to(to, len(TABLE))
    for (kind, call, _), body, wanted in zip(TABLE, bodies, expected, strict=True):
        if kind == "reaction":  # its id is its own, the answer is the message that it is on
            wanted["biz_opaque_callback_data"] = body["biz_opaque_callback_data"]
        if "media" in call:
            uploaded, body[kind]["id"] = body[kind]["id"], FILE
            assert (await meta.content(uploaded))[1] == files[call["media"]["id"]]["sha256"]
    assert bodies == expected


async def test_the_customer_is_shown_that_somebody_writes(shared_office: Office, meta: Meta):
    office = shared_office
    chat = await office.opened_by(office.ana)
    thread = await office.ana("GET", f"/conversations/{chat}/messages")
    for times in (1, 2):
        shown = await office.ana.act(chat, "typing")
        assert shown.status == 204, shown.raw
        assert await meta.typing(thread.body["items"][0]["wamid"], times) == {
            "messaging_product": "whatsapp",
            "status": "read",
            "message_id": thread.body["items"][0]["wamid"],
            "typing_indicator": {"type": "text"},
        }


def _with(call: dict[str, Any], quoted: str, media: dict[str, Any] | None) -> dict[str, Any]:
    call = _put(call, {QUOTED: quoted})
    return call if media is None else call | {"media": call["media"] | {"id": media["id"]}}


def _put(value: Any, places: dict[str, Any]) -> Any:
    """The same value with these words replaced, however deep they are."""
    if isinstance(value, dict):
        return {name: _put(each, places) for name, each in value.items()}
    if isinstance(value, list):
        return [_put(each, places) for each in value]
    return places.get(value, value) if isinstance(value, str) else value
