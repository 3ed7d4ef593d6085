from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from services.delivery.decisions.bodies import (
    UnsendableError,
    address,
    block_body,
    message_body,
    read_body,
)
from services.delivery.model import MediaFile, Recipient, SendRecord, SendStatus

NOW = datetime(2026, 6, 1, tzinfo=UTC)
RECORD = SendRecord(
    id="acme:m1:0",
    tenant="acme",
    number_id="n1",
    conversation_id="c1",
    message_id="m1",
    partition=0,
    seq=1,
    base=0,
    status=SendStatus.QUEUED,
    attempt=0,
    recipient=Recipient(wa_id="12025550111", user_id="US.1"),
    type="text",
    body=b"",
    queued_at=NOW,
    stored_at=NOW,
)


@pytest.mark.parametrize(
    ("recipient", "expected"),
    [
        pytest.param(
            Recipient(wa_id="12025550111"),
            {"recipient_type": "individual", "to": "+12025550111"},
            id="phone",
        ),
        pytest.param(
            Recipient(wa_id="+1 (202) 555-0111", user_id="US.1"),
            {"recipient_type": "individual", "to": "+12025550111"},
            id="phone first, digits only",
        ),
        pytest.param(
            Recipient(user_id="US.1"),
            {"recipient_type": "individual", "recipient": "US.1"},
            id="BSUID only",
        ),
        pytest.param(
            Recipient(group_id="g1", wa_id="12025550111"),
            {"recipient_type": "group", "to": "g1"},
            id="group",
        ),
    ],
)
def test_address(recipient: Recipient, expected: dict[str, str]):
    assert address(recipient) == expected


def test_nobody_to_send_to_is_unsendable():
    for recipient in (Recipient(), Recipient(wa_id="none"), Recipient(wa_id="")):
        with pytest.raises(UnsendableError):
            address(recipient)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("text", {"body": "hola", "preview_url": True}),
        ("template", {"name": "order", "language": {"code": "en_US"}, "components": []}),
        ("interactive", {"type": "button", "body": {"text": "?"}, "action": {"buttons": []}}),
        ("location", {"latitude": 1.5, "longitude": 2.5, "name": "Office"}),
        ("contacts", [{"name": {"formatted_name": "Ana"}}]),
        ("reaction", {"message_id": "wamid.X", "emoji": ""}),
        ("image", {"link": "https://example.com/a.jpg", "caption": "a"}),
    ],
)
def test_body_of_a_type_is_metas_own(kind: str, content: Any):
    body = message_body(replace(RECORD, type=kind), content, None)
    assert body == {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": "+12025550111",
        "type": kind,
        kind: content,
        "biz_opaque_callback_data": "m1",
    }


def test_reply_has_the_context_except_for_a_reaction():
    reply = replace(RECORD, reply_to="wamid.X")
    assert message_body(reply, {"body": "a"}, None)["context"] == {"message_id": "wamid.X"}
    assert "context" not in message_body(replace(reply, type="reaction"), {}, None)


@pytest.mark.parametrize(
    ("kind", "media", "content", "expected"),
    [
        pytest.param(
            "image",
            MediaFile("ab", "image/jpeg", 3, filename="a.jpg"),
            {"caption": "c"},
            {"caption": "c", "id": "77"},
            id="image has no filename",
        ),
        pytest.param(
            "document",
            MediaFile("ab", "application/pdf", 3, filename="a.pdf"),
            {},
            {"id": "77", "filename": "a.pdf"},
            id="document",
        ),
        pytest.param(
            "audio",
            MediaFile("ab", "audio/ogg", 3, voice=True),
            {},
            {"id": "77", "voice": True},
            id="voice",
        ),
    ],
)
def test_uploaded_file_goes_by_id(
    kind: str, media: MediaFile, content: dict[str, Any], expected: dict[str, Any]
):
    record = replace(RECORD, type=kind, media=media)
    assert message_body(record, content, "77")[kind] == expected


def test_read_and_typing():
    plain = {"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.X"}
    assert read_body("wamid.X", typing=False) == plain
    assert read_body("wamid.X", typing=True) == plain | {"typing_indicator": {"type": "text"}}


def test_block_goes_by_phone_else_by_bsuid():
    assert block_body(Recipient(wa_id="1", user_id="US.1"))["block_users"] == [{"user": "+1"}]
    assert block_body(Recipient(user_id="US.1"))["block_users"] == [{"user_id": "US.1"}]
    with pytest.raises(UnsendableError):
        block_body(Recipient(group_id="g"))
