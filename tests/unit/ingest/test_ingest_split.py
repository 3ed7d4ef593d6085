import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.decisions.quarantine import Waiting
from services.ingest.decisions.reading import UnreadableError, is_too_deep, read_json
from services.ingest.decisions.splitting import OBJECT, split
from services.ingest.model import Item, Split
from shared.contracts.inbound import InboundType, QuarantineReason

PAYLOADS = Path(__file__).parents[2] / "payloads"
NUMBER = "200000000000001"


def load(name: str) -> Any:
    return json.loads((PAYLOADS / f"{name}.json").read_text())


def webhook(value: object, field: object = "messages") -> dict[str, Any]:
    change = {"value": value, "field": field}
    return {"object": OBJECT, "entry": [{"id": "1", "changes": [change]}]}


def value(**members: object) -> dict[str, Any]:
    return {"metadata": {"phone_number_id": NUMBER}, **members}


def only(found: Split) -> Item:
    assert found.rejects == []
    assert len(found.items) == 1
    return found.items[0]


@pytest.mark.parametrize("file", sorted(PAYLOADS.glob("*.json")), ids=lambda file: file.stem)
def test_split_takes_every_sample_whole(file: Path):
    payload = json.loads(file.read_text())

    found = split(payload)

    assert found.rejects == []
    assert found.items
    kinds = {
        "msg_": InboundType.MESSAGE,
        "status_": InboundType.STATUS,
        "smb_echo": InboundType.ECHO,
    }
    expected = next((kind for start, kind in kinds.items() if file.stem.startswith(start)), None)
    if expected is not None:
        assert {item.type for item in found.items} == {expected}


@pytest.mark.parametrize(
    ("name", "party"),
    [
        pytest.param("msg_text", "user:US.90000000000000000001", id="bsuid"),
        pytest.param("msg_text_legacy_no_bsuid", "phone:12025550111", id="phone"),
        pytest.param("msg_username_no_phone", "user:US.90000000000000000001", id="hidden-phone"),
        pytest.param(
            "msg_group_text", "group:FakeGroupIdFakeGroupIdFakeGroupIdFakeGroupId", id="group"
        ),
        pytest.param("status_read", "phone:12025550111", id="status-phone"),
        pytest.param("status_delivered_bsuid", "user:US.90000000000000000001", id="status-bsuid"),
        pytest.param(
            "status_group_participant_recipient_id",
            "group:FakeGroupIdFakeGroupIdFakeGroupIdFakeGroupId",
            id="status-group",
        ),
        pytest.param("smb_echo_text", "user:US.90000000000000000001", id="echo-to"),
        pytest.param("calls_connect", "user:US.90000000000000000001", id="call"),
        pytest.param("user_id_update", "user:US.90000000000000000001", id="previous-bsuid"),
        pytest.param("account_update_deleted", "", id="account"),
    ],
)
def test_split_names_whom_an_item_is_about(name: str, party: str):
    assert only(split(load(name))).party == party


def test_split_gives_a_phone_only_status_the_bsuid_of_its_contact():
    contact = {"wa_id": "12025550111", "user_id": "US.1"}
    status = {"id": "wamid.A", "status": "read", "recipient_id": "12025550111"}

    found = only(split(webhook(value(contacts=[contact], statuses=[status]))))

    assert found.party == "user:US.1"
    assert found.contacts == [contact]


def test_split_gives_each_message_its_own_contact():
    found = split(load("batch_messages_one_change"))

    assert [(i.item["text"]["body"], i.contacts[0]["profile"]["name"]) for i in found.items] == [
        ("one", "Ana Example"),
        ("two", "Bo Sample"),
        ("three", "Ana Example"),
    ]
    assert found.items[0].party == found.items[2].party


ANA = {"profile": {"name": "Ana"}, "user_id": "US.1"}


@pytest.mark.parametrize(
    ("message", "contact"),
    [
        pytest.param({}, ANA, id="nobody-named"),
        pytest.param({}, {"wa_id": "12025550111"}, id="nobody-named-phone"),
        pytest.param({"from": "12025550111"}, ANA, id="phone-and-bsuid"),
        pytest.param({"from_user_id": "US.1"}, {"wa_id": "12025550111"}, id="bsuid-and-phone"),
        pytest.param({"from": "5511900000001"}, {"wa_id": "551100000001"}, id="two-spellings"),
    ],
)
def test_regression_split_gives_a_lone_message_its_lone_contact(
    message: dict[str, Any], contact: dict[str, Any]
):
    """What only the contact tells is lost otherwise: somebody unknown, or a chat in two."""
    found = only(split(webhook(value(contacts=[contact], messages=[{"id": "wamid.A", **message}]))))

    assert found.contacts == [contact]


@pytest.mark.parametrize(
    ("messages", "contacts"),
    [
        pytest.param([{"from": "1"}, {"from": "2"}], [ANA], id="two-senders"),
        pytest.param([{}], [ANA, {"user_id": "US.2"}], id="two-contacts"),
        pytest.param([{"from_user_id": "US.2"}], [ANA], id="another-bsuid"),
        pytest.param([{"from": "12025550111"}], [{"wa_id": "12025550122"}], id="another-phone"),
        pytest.param([{"from": "1", "type": "system"}], [ANA], id="system"),
    ],
)
def test_split_gives_no_message_the_contact_of_another(
    messages: list[dict[str, Any]], contacts: list[dict[str, Any]]
):
    sent = [{"id": f"wamid.{place}", **each} for place, each in enumerate(messages)]

    found = split(webhook(value(contacts=contacts, messages=sent)))

    assert [item.contacts for item in found.items] == [[] for _ in messages]


def test_regression_split_matches_ids_that_came_as_numbers():
    value_ = value(
        contacts=[{"wa_id": 12025550122}, {"wa_id": "12025550111"}],
        messages=[{"id": "wamid.A", "from": 12025550111}, {"id": 77, "from": "12025550122"}],
        statuses=[{"id": "wamid.B", "status": "read", "recipient_id": 12025550111}],
    )

    found = split(webhook(value_))

    assert found.rejects == []
    assert [(item.party, item.contacts) for item in found.items] == [
        ("phone:12025550111", [{"wa_id": "12025550111"}]),
        ("phone:12025550122", [{"wa_id": 12025550122}]),
        ("phone:12025550111", [{"wa_id": "12025550111"}]),
    ]
    assert found.items[1].identity == ("whatsapp.message", "77")


def test_split_takes_messages_and_statuses_out_of_one_value():
    found = split(
        webhook(
            value(
                messages=[{"id": "wamid.A", "from": "1"}],
                statuses=[{"id": "wamid.B", "status": "sent", "recipient_id": "1"}],
                errors=[{"code": 1}],
            )
        )
    )

    assert [item.type for item in found.items] == [
        InboundType.MESSAGE,
        InboundType.STATUS,
        InboundType.CHANGE,
    ]


def test_split_takes_the_media_of_the_history_as_changes():
    messages = [{"id": "wamid.A", "from": "1", "type": "image"}]

    found = only(split(webhook(value(messages=messages), "history")))

    assert (found.type, found.field, found.item) == (InboundType.CHANGE, "history", messages[0])


def test_split_keeps_a_value_whole_when_it_says_more_than_its_array():
    found = only(split(load("account_update_restriction")))

    assert found.item["event"] == "ACCOUNT_RESTRICTION"
    assert found.phone_number_id is None
    assert found.waba_id == "100000000000001"


def test_split_takes_empty_strings_as_absent():
    message = {"id": "wamid.A", "from": "", "from_user_id": "US.1", "group_id": ""}

    assert only(split(webhook(value(messages=[message])))).party == "user:US.1"


def test_split_understands_a_change_printed_one_level_too_high():
    entry = {"id": "1", "field": "account_update", "value": {"event": "X"}}

    assert only(split({"object": OBJECT, "entry": [entry]})).field == "account_update"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        pytest.param([], "not_whatsapp", id="array"),
        pytest.param(None, "not_whatsapp", id="null"),
        pytest.param(1.5, "not_whatsapp", id="number"),
        pytest.param({}, "not_whatsapp", id="empty"),
        pytest.param({"object": "page", "entry": []}, "not_whatsapp", id="page"),
        pytest.param({"object": OBJECT}, "unexpected_shape", id="no-entry"),
        pytest.param({"object": OBJECT, "entry": {}}, "unexpected_shape", id="entry-object"),
        pytest.param({"object": OBJECT, "entry": []}, "unexpected_shape", id="entry-empty"),
        pytest.param({"object": OBJECT, "entry": [7]}, "unexpected_shape", id="entry-number"),
        pytest.param({"object": OBJECT, "entry": [{}]}, "unexpected_shape", id="no-changes"),
        pytest.param(webhook("text"), "unexpected_shape", id="value-text"),
        pytest.param(webhook(value(messages={})), "unexpected_shape", id="messages-object"),
        pytest.param(webhook(value(messages=[None])), "unexpected_shape", id="message-null"),
        pytest.param(webhook(value(messages=[{}])), "no_message_id", id="message-without-id"),
        pytest.param(webhook(value(messages=[{"id": [5]}])), "no_message_id", id="id-list"),
        pytest.param(webhook(value(statuses=[{"id": ""}])), "no_message_id", id="id-empty"),
    ],
)
def test_split_rejects_what_it_does_not_understand(payload: object, reason: str):
    found = split(payload)

    assert found.items == []
    assert [reject.reason.value for reject in found.rejects] == [reason]


def test_split_takes_the_neighbours_of_a_bad_element():
    messages = [{"id": "wamid.A", "from": "1"}, 7, {}, {"id": "wamid.B", "from": "1"}]

    found = split(webhook(value(messages=messages)))

    assert [item.item["id"] for item in found.items] == ["wamid.A", "wamid.B"]
    assert [reject.reason for reject in found.rejects] == [
        QuarantineReason.UNEXPECTED_SHAPE,
        QuarantineReason.NO_MESSAGE_ID,
    ]
    assert {reject.phone_number_id for reject in found.rejects} == {NUMBER}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)
ODD = st.none() | st.just("") | st.integers() | st.lists(st.just(1), max_size=1) | st.text()
ELEMENT = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {},
        optional={
            name: ODD | st.sampled_from(["1", "wamid.A", "US.1", "group"])
            for name in (
                "id",
                "from",
                "from_user_id",
                "to",
                "to_user_id",
                "group_id",
                "status",
                "timestamp",
                "recipient_id",
                "recipient_user_id",
                "recipient_type",
                "recipient_participant_id",
                "user_id",
                "wa_id",
                "direction",
            )
        },
    ),
)
ARRAYS = ("messages", "statuses", "message_echoes", "errors")


@settings(max_examples=300, deadline=None)
@given(JSON)
def test_split_never_raises_for_any_json(payload: object):
    found = split(payload)

    assert found.items or found.rejects


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.sampled_from(ARRAYS), st.lists(ELEMENT, max_size=4)),
    st.lists(ELEMENT, max_size=3) | JSON,
    JSON,
)
def test_split_loses_no_element(arrays: dict[str, list[Any]], contacts: object, metadata: object):
    found = split(webhook({**arrays, "contacts": contacts, "metadata": metadata}))

    elements = sum(len(elements) for elements in arrays.values())
    assert len(found.items) + len(found.rejects) == max(1, elements)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(), st.lists(ELEMENT, min_size=1, max_size=4), max_size=3))
def test_split_loses_no_element_of_a_field_it_does_not_know(arrays: dict[str, list[Any]]):
    surroundings = {"metadata", "contacts", "messaging_product"}
    elements = sum(len(found) for name, found in arrays.items() if name not in surroundings)

    found = split(webhook(arrays, "some_future_field"))

    assert len(found.items) + len(found.rejects) == max(1, elements)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(rb'{"a":"x\ud83d"}', {"a": "x\ufffd"}, id="lone-high-surrogate"),
        pytest.param(rb'{"a":"\ude42x"}', {"a": "\ufffdx"}, id="lone-low-surrogate"),
        pytest.param(rb'["\ud83d\ud83d\ude42"]', ["\ufffd\U0001f642"], id="lone-before-a-pair"),
        pytest.param(rb'["\\ud83d\ud83d"]', ["\\ud83d\ufffd"], id="escaped-backslash"),
        pytest.param(b'\xef\xbb\xbf{"a":1}', {"a": 1}, id="byte-order-mark"),
        pytest.param(b'{"a":1,"a":2}', {"a": 2}, id="duplicate-keys"),
        pytest.param(b"[" + b"9" * 400 + b"]", ["9" * 400], id="huge-integer"),
        pytest.param(b"[1e999]", ["1e999"], id="huge-float"),
        pytest.param(b"[-1e999]", ["-1e999"], id="huge-negative-float"),
    ],
)
def test_read_json_takes_what_orjson_refuses(body: bytes, expected: object):
    assert read_json(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut"),
        pytest.param(b"[NaN]", id="nan"),
        pytest.param(b"[-Infinity]", id="infinity"),
        pytest.param(b'{"a":"\xff"}', id="invalid-utf8"),
        pytest.param(b'{"a":"\xed\xa0\xbd"}', id="surrogate-in-utf8"),
        pytest.param(b"[" * 100_000, id="deep-and-cut"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="deep"),
        pytest.param(b"a=1&b=2", id="form"),
    ],
)
def test_read_json_refuses_what_is_not_json(body: bytes):
    with pytest.raises(UnreadableError):
        read_json(body)


def test_read_json_cuts_what_no_reader_takes_and_keeps_what_stands_around():
    deep = b"[" * 2_000 + b'"]"' + b"]" * 2_000
    body = b'{"a":' + deep + rb',"b":"[{\"","c":{"d":' + deep + b'},"e":1}'

    found = read_json(body)

    assert isinstance(found, dict)
    assert (found["b"], found["e"]) == ('[{"', 1)
    assert is_too_deep(found["a"], 400)
    assert is_too_deep(found["c"], 400)


def test_is_too_deep_counts_levels():
    nested: Any = 1
    for _ in range(64):
        nested = [{"a": 1}, nested]

    assert not is_too_deep(nested)
    assert is_too_deep([nested])


def test_what_an_operator_settled_is_left_out_of_its_span():
    waiting = Waiting()
    for offset in (3, 5, 9):
        waiting.add("900", offset)
    waiting.skip("900", 5)
    waiting.skip("901", 5)
    assert waiting.spans() == [("900", 3, 9)]
    assert waiting.skipped("900") == {5}
    waiting.settle("900", 9)
    assert waiting.skipped("900") == frozenset()
    waiting.add("900", 12)
    waiting.skip("900", 12)
    assert waiting.spans() == []
