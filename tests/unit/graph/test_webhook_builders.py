import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.testing.webhooks import (
    Customer,
    Number,
    Wamids,
    button_message,
    button_reply_message,
    change,
    contacts_message,
    customers,
    edit_message,
    encode,
    flow_reply_message,
    list_reply_message,
    location_message,
    media_message,
    merged,
    message,
    messages_change,
    order_message,
    pricing,
    reaction_message,
    sign,
    status,
    status_error,
    statuses_change,
    system_message,
    text_message,
    unsupported_message,
    value,
    wamid,
    webhook,
)

PAYLOADS = Path(__file__).parents[2] / "payloads"
ANA = Customer()


def sample(name: str) -> Any:
    return json.loads((PAYLOADS / f"{name}.json").read_text())


def item(name: str, member: str = "messages") -> Any:
    return sample(name)["entry"][0]["changes"][0]["value"][member][0]


def media(name: str, kind: str, **flags: Any) -> Any:
    found = item(name)
    content = found[kind]
    known = {key: content[key] for key in ("mime_type", "sha256", "url")}
    rest = {key: content[key] for key in ("caption", "filename") if key in content}
    return media_message(kind, content["id"], ANA, found["id"], **known, **rest, **flags)


BUILT: dict[str, Callable[[Any], Any]] = {
    "msg_text": lambda m: text_message(m["text"]["body"], ANA, m["id"]),
    "msg_text_unicode": lambda m: text_message(m["text"]["body"], ANA, m["id"]),
    "msg_text_reply": lambda m: text_message(
        m["text"]["body"], ANA, m["id"], reply_to=m["context"]["id"]
    ),
    "msg_text_forwarded": lambda m: text_message("fwd", ANA, m["id"], context={"forwarded": True}),
    "msg_text_legacy_no_bsuid": lambda m: text_message(
        m["text"]["body"], Customer(user_id=None), m["id"]
    ),
    "msg_group_text": lambda m: text_message(
        m["text"]["body"], ANA, m["id"], group_id=m["group_id"]
    ),
    "msg_username_no_phone": lambda m: text_message(
        m["text"]["body"],
        Customer(wa_id=None, parent_user_id="US.ENT.90000000000000000002"),
        m["id"],
    ),
    "msg_image": lambda _: media("msg_image", "image"),
    "msg_video": lambda _: media("msg_video", "video"),
    "msg_audio_voice": lambda _: media("msg_audio_voice", "audio", voice=True),
    "msg_document": lambda _: media("msg_document", "document"),
    "msg_sticker_static": lambda _: media("msg_sticker_static", "sticker", animated=False),
    "msg_location_pin": lambda m: location_message(38.8977, -77.0365, ANA, m["id"]),
    "msg_contacts": lambda m: contacts_message(m["contacts"], ANA, m["id"]),
    "msg_reaction": lambda m: reaction_message(m["reaction"]["message_id"], "👍", ANA, m["id"]),
    "msg_reaction_removed_absent": lambda m: reaction_message(
        m["reaction"]["message_id"], None, ANA, m["id"]
    ),
    "msg_button": lambda m: button_message(
        "UNSUBSCRIBE", "Unsubscribe", ANA, m["id"], reply_to=m["context"]["id"]
    ),
    "msg_interactive_button_reply": lambda m: button_reply_message(
        "cancel-button", "Cancel", ANA, m["id"], reply_to=m["context"]["id"]
    ),
    "msg_interactive_list_reply": lambda m: list_reply_message(
        "row-express",
        "Express",
        ANA,
        m["id"],
        description="Next day",
        reply_to=m["context"]["id"],
    ),
    "msg_order": lambda m: order_message(
        m["order"]["product_items"], ANA, m["id"], text=m["order"]["text"]
    ),
    "msg_unsupported_edit": lambda m: unsupported_message("edit", ANA, m["id"]),
    "msg_edit_text": lambda m: edit_message(
        m["edit"]["original_message_id"], "Corrected text", ANA, m["id"]
    ),
    "msg_request_welcome": lambda m: message("request_welcome", None, ANA, m["id"]),
    "msg_system_user_changed_number": lambda m: system_message(
        "user_changed_number",
        m["system"]["body"],
        Customer(user_id=None),
        m["id"],
        wa_id=m["system"]["wa_id"],
    ),
}


@pytest.mark.parametrize("name", BUILT)
def test_message_equals_the_sample(name: str) -> None:
    found = item(name)
    assert BUILT[name](found) == found


FREE = pricing("free_customer_service", billable=False)
STATUSES: dict[str, Callable[[Any], Any]] = {
    "status_sent_v24": lambda s: status("sent", s["id"], recipient_id="12025550111", price=FREE),
    "status_sent_biz_opaque": lambda s: status(
        "sent",
        s["id"],
        recipient_id="12025550111",
        callback_data="fake-outbox-id-0001",
        price=FREE,
    ),
    "status_sent_service_charged": lambda s: status(
        "sent", s["id"], recipient_id="12025550111", price=pricing()
    ),
    "status_delivered_bsuid": lambda s: status(
        "delivered",
        s["id"],
        recipient_user_id=ANA.user_id,
        recipient_parent_user_id="US.ENT.90000000000000000002",
        price=pricing(category="marketing"),
    ),
    "status_read": lambda s: status("read", s["id"], recipient_id="12025550111"),
    "status_failed_131047_window": lambda s: status(
        "failed",
        s["id"],
        recipient_id="12025550111",
        errors=[
            status_error(131047, "Re-engagement message", s["errors"][0]["error_data"]["details"])
        ],
    ),
}


@pytest.mark.parametrize("name", STATUSES)
def test_status_equals_the_sample(name: str) -> None:
    found = item(name, "statuses")
    assert STATUSES[name](found) == found


def test_webhook_equals_the_sample() -> None:
    whole = sample("msg_text")
    found = item("msg_text")
    assert webhook(messages_change(Number(), [found], [ANA, ANA])) == whole
    report = item("status_read", "statuses")
    assert webhook(statuses_change(Number(), [report])) == sample("status_read")


def test_webhooks_of_several_accounts_merge() -> None:
    one = webhook(change(value(Number())), waba_id="1")
    assert [entry["id"] for entry in merged([one, webhook(waba_id="2")])["entry"]] == ["1", "2"]


def test_flow_answer_is_a_string() -> None:
    found = flow_reply_message({"a": 1}, ANA, "wamid.x")
    assert found["interactive"]["nfm_reply"]["response_json"] == '{"a":1}'


def test_wamid_has_metas_layout() -> None:
    assert wamid("12025550111", "3AFAKE00000000000001", inbound=True) == item("msg_text")["id"]
    found = json.loads((PAYLOADS / "api" / "send_ok_phone.json").read_text())
    token = "FAKE00000000000140"
    assert wamid("12025550111", token, inbound=False) == found["messages"][0]["id"]


def test_wamids_are_unique_and_repeat_with_the_seed() -> None:
    def make(seed: int) -> list[str]:
        ids = Wamids(seed)
        return [ids.inbound(ANA) for _ in range(50)] + [ids.outbound("1") for _ in range(50)]

    assert make(1) == make(1)
    assert len({*make(1), *make(2)}) == 200
    assert b"12025550111" in base64.b64decode(make(1)[0].removeprefix("wamid."))


def test_customers_are_different_and_some_hide_their_phone() -> None:
    found = customers(200, seed=3, hidden_ratio=0.5)
    assert found == customers(200, seed=3, hidden_ratio=0.5)
    assert len({one.identity for one in found}) == 200
    hidden = [one for one in found if one.wa_id is None]
    assert 50 < len(hidden) < 150
    assert all(one.username for one in hidden)


def test_bytes_and_signature_equal_metas() -> None:
    raw = (PAYLOADS / "raw" / "msg_text_unicode.body").read_bytes()
    signature = json.loads((PAYLOADS / "raw" / "msg_text_unicode.sig.json").read_text())
    assert encode(json.loads(raw)) == raw
    assert sign(raw, signature["app_secret"]) == signature["valid_for_raw_body"]


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_encoding_loses_nothing_and_leaves_nothing_unescaped(payload: Any) -> None:
    body = encode(payload)
    assert json.loads(body) == payload
    assert body.isascii()
    assert not set(b"<%@") & set(body)
    assert body.count(b"/") == body.count(rb"\/")
