import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.model import Source
from services.ingest.storage import Directory
from services.ingest.workflows.accept import MAX_GROWTH, MIN_OUTPUT_BYTES, Sorter
from shared.contracts.envelope import read_envelope
from shared.contracts.inbound import (
    QUARANTINE_APP,
    QUARANTINE_REASON,
    QUARANTINE_TENANTS,
    InboundItem,
    InboundType,
)
from shared.contracts.records import OutRecord
from shared.contracts.topics import INBOUND, QUARANTINE
from shared.ids import IdHasher
from shared.observability.metrics import Metrics
from tests.unit.ingest.entries import number_record, tenant_tombstone

PAYLOADS = Path(__file__).parents[2] / "payloads"
AT = "2026-06-01T12:00:00.123Z"
FIRST, SECOND = "200000000000001", "200000000000002"


@pytest.fixture
def directory() -> Directory:
    found = Directory(Metrics())
    found.apply(number_record("n1", FIRST, tenant="acme", waba_id="100000000000001"))
    found.apply(number_record("n2", SECOND, tenant="acme", waba_id="100000000000001"))
    found.apply(number_record("n3", "300", tenant="own", waba_id="W3", app_id="app-3"))
    return found


@pytest.fixture
def sorter(directory: Directory) -> Sorter:
    return Sorter(directory, IdHasher("key-secret"))


def body(name: str) -> bytes:
    return (PAYLOADS / f"{name}.json").read_bytes()


def messages(phone_number_id: str, *found: object, **members: object) -> bytes:
    value = {"metadata": {"phone_number_id": phone_number_id}, "messages": found, **members}
    change = {"field": "messages", "value": value}
    return json.dumps(
        {"object": "whatsapp_business_account", "entry": [{"id": "W", "changes": [change]}]}
    ).encode()


def reasons(records: list[OutRecord]) -> list[str]:
    return [
        dict(record.headers)[QUARANTINE_REASON].decode()
        for record in records
        if record.topic is QUARANTINE
    ]


@pytest.mark.parametrize("file", sorted(PAYLOADS.glob("*.json")), ids=lambda file: file.stem)
def test_sorter_writes_what_the_contract_reads(sorter: Sorter, file: Path):
    found = sorter.sort(file.read_bytes(), Source(), AT)

    assert found.reasons == []
    assert found.records
    for record, kind in zip(found.records, found.kinds, strict=True):
        assert record.topic is INBOUND
        item = InboundItem.model_validate_json(record.value or b"")
        envelope = read_envelope(record.headers)
        assert (envelope.type, envelope.source, envelope.time) == (kind.value, "ingest", AT)
        assert envelope.tenant == "acme"
        assert dict(record.headers)["content-type"] == b"application/json"
        if item.phone_number_id is not None:
            assert item.number_id == {FIRST: "n1", SECOND: "n2"}[item.phone_number_id]
        assert item.waba_id == "100000000000001"


@pytest.mark.parametrize("file", sorted(PAYLOADS.glob("*.json")), ids=lambda file: file.stem)
def test_sorter_puts_nothing_personal_into_keys_and_headers(sorter: Sorter, file: Path):
    for record in sorter.sort(file.read_bytes(), Source(), AT).records:
        seen = b" ".join([record.key or b"", *(value for _, value in record.headers)])
        for personal in (b"wamid", b"1202555", b"5511", b"Ana", b"US.9"):
            assert personal not in seen


def test_sorter_embeds_the_element_as_it_was_sent(sorter: Sorter):
    payload = json.loads(body("msg_text_unicode"))

    (record,) = sorter.sort(orjson.dumps(payload), Source(), AT).records

    value = orjson.loads(record.value or b"")
    assert value["item"] == payload["entry"][0]["changes"][0]["value"]["messages"][0]


def test_sorter_gives_a_repeated_post_the_same_ids_and_other_facts_other_ones(sorter: Sorter):
    def ids(name: str, at: str = AT) -> list[str]:
        found = sorter.sort(body(name), Source(), at)
        return [read_envelope(record.headers).id for record in found.records]

    statuses = ids("batch_out_of_order_statuses")

    assert ids("batch_out_of_order_statuses", "2026-06-08T00:00:00.000Z") == statuses
    assert len(set(statuses)) == 3
    assert ids("account_update_deleted") == ids("account_update_deleted")
    assert ids("account_update_deleted") != ids("account_update_disabled")


def test_sorter_gives_one_customer_one_key_however_it_is_named(sorter: Sorter):
    contact = {"wa_id": "1202", "user_id": "US.1"}
    by_both = messages(FIRST, {"id": "a", "from": "1202", "from_user_id": "US.1"})
    by_bsuid = messages(FIRST, {"id": "b", "from_user_id": "US.1"})
    by_phone = messages(FIRST, {"id": "c", "from": "1202"}, contacts=[contact])
    somebody = messages(FIRST, {"id": "d", "from_user_id": "US.2"})
    elsewhere = messages(SECOND, {"id": "e", "from_user_id": "US.1"})

    def key(sent: bytes) -> bytes | None:
        return sorter.sort(sent, Source(), AT).records[0].key

    assert key(by_both) == key(by_bsuid) == key(by_phone)
    assert len({key(by_both), key(somebody), key(elsewhere)}) == 3


def test_sorter_keys_do_not_change_between_releases(sorter: Sorter):
    sent = messages(FIRST, {"id": "a", "from_user_id": "US.1"})

    # The key decides the partition: another one would let new messages overtake old ones.
    assert sorter.sort(sent, Source(), AT).records[0].key == b"5f80b9db3251834b"


def test_sorter_quarantines_unknown_numbers_under_their_number(sorter: Sorter):
    sent = messages("999", {"id": "a", "from": "1"}, {"id": "b", "from": "1"})

    (record,) = sorter.sort(sent, Source(), AT).records

    assert (record.topic, record.key, record.value) == (QUARANTINE, b"999", sent)
    headers = dict(record.headers)
    assert headers[QUARANTINE_REASON] == b"unknown_number"
    assert headers["content-type"] == b"application/octet-stream"
    assert QUARANTINE_APP not in headers
    assert QUARANTINE_TENANTS not in headers


def test_sorter_takes_the_known_numbers_beside_an_unknown_one(sorter: Sorter):
    payload = json.loads(body("batch_changes"))
    payload["entry"][0]["changes"][1]["value"]["metadata"]["phone_number_id"] = "999"

    found = sorter.sort(orjson.dumps(payload), Source(), AT)

    assert [record.topic for record in found.records] == [INBOUND, QUARANTINE]
    assert found.kinds == [InboundType.MESSAGE]


@pytest.mark.parametrize(
    ("phone", "source", "expected"),
    [
        pytest.param("300", Source("app-3", frozenset({"own"})), [], id="own-app"),
        pytest.param("300", Source(), ["wrong_app"], id="platform-app"),
        pytest.param("300", Source("app-4", frozenset({"own"})), ["wrong_app"], id="other-app"),
        pytest.param(
            "300", Source("app-3", frozenset({"mallory"})), ["wrong_app"], id="other-tenants-secret"
        ),
        pytest.param(
            FIRST, Source("app-3", frozenset({"own"})), ["wrong_app"], id="platform-number"
        ),
    ],
)
def test_sorter_takes_a_number_only_from_its_own_app(
    sorter: Sorter, phone: str, source: Source, expected: list[str]
):
    found = sorter.sort(messages(phone, {"id": "a", "from": "1"}), source, AT)

    assert reasons(found.records) == expected


@pytest.mark.parametrize(
    ("waba", "source", "expected"),
    [
        pytest.param("W3", Source("app-3", frozenset({"own"})), [], id="own"),
        pytest.param("W3", Source(), ["wrong_app"], id="wrong-app"),
        pytest.param("W9", Source(), ["unknown_number"], id="unknown"),
    ],
)
def test_sorter_finds_the_tenant_of_an_account_field_by_its_waba(
    sorter: Sorter, waba: str, source: Source, expected: list[str]
):
    payload = json.loads(body("account_update_deleted"))
    payload["entry"][0]["id"] = waba

    found = sorter.sort(orjson.dumps(payload), source, AT)

    assert reasons(found.records) == expected


def test_sorter_knows_no_number_of_an_erased_tenant(sorter: Sorter, directory: Directory):
    directory.apply(tenant_tombstone("acme"))

    assert reasons(sorter.sort(body("msg_text"), Source(), AT).records) == ["unknown_number"]


def test_sorter_keeps_a_message_cut_inside_an_emoji(sorter: Sorter):
    sent = messages(FIRST, {"id": "a", "from": "1", "text": {"body": "hi \ud83d"}})

    (record,) = sorter.sort(sent, Source(), AT).records

    assert InboundItem.model_validate_json(record.value or b"").item["text"]["body"] == "hi \ufffd"


@pytest.mark.parametrize("depth", [80, 300, 900, 5_000, 40_000])
def test_sorter_quarantines_only_the_element_that_nests_too_deep(sorter: Sorter, depth: int):
    deep = b'{"id":"b","from":"1","x":' + b"[" * depth + b"]" * depth + b"}"
    sent = messages(FIRST, {"id": "a", "from": "1"}, {"at": "here"}).replace(
        b'{"at": "here"}', deep
    )

    found = sorter.sort(sent, Source(), AT)

    assert [record.topic for record in found.records] == [INBOUND, QUARANTINE]
    assert reasons(found.records) == ["unexpected_shape"]


def test_sorter_quarantines_once_for_each_reason(sorter: Sorter):
    found = sorter.sort(messages(FIRST, {}, {}, 1, 2, {"id": "a", "from": "1"}), Source(), AT)

    assert found.kinds == [InboundType.MESSAGE]
    assert sorted(reasons(found.records)) == ["no_message_id", "unexpected_shape"]


def test_sorter_bounds_what_a_made_up_body_can_grow_to(sorter: Sorter):
    metadata = {"phone_number_id": FIRST, "padding": "x" * 1_000_000}
    found = [{"id": str(n), "from": "1"} for n in range(1000)]
    value = {"metadata": metadata, "messages": found}
    entry = {"id": "W", "changes": [{"field": "messages", "value": value}]}
    sent = orjson.dumps({"object": "whatsapp_business_account", "entry": [entry]})

    assert reasons(sorter.sort(sent, Source(), AT).records) == ["unexpected_shape"]


def test_sorter_bounds_the_copies_for_unknown_numbers(sorter: Sorter):
    changes = [
        {
            "field": "messages",
            "value": {
                "metadata": {"phone_number_id": f"9{n}"},
                "messages": [{"id": "a", "from": "1", "text": {"body": "x" * 10_000}}],
            },
        }
        for n in range(300)
    ]
    sent = orjson.dumps(
        {"object": "whatsapp_business_account", "entry": [{"id": "W", "changes": changes}]}
    )

    found = sorter.sort(sent, Source(), AT)

    assert found.records
    size = sum(len(record.value or b"") for record in found.records)
    assert size <= max(MIN_OUTPUT_BYTES, MAX_GROWTH * len(sent))


def test_sorter_gives_one_number_alone_when_asked(sorter: Sorter):
    found = sorter.sort(body("batch_changes"), Source(), AT, only=SECOND)

    assert found.kinds == [InboundType.STATUS]


@settings(max_examples=200, deadline=None)
@given(st.binary() | st.recursive(st.none() | st.text(), st.lists).map(json.dumps).map(str.encode))
def test_sorter_never_raises_and_always_records_something(sent: bytes):
    found = Sorter(Directory(Metrics()), IdHasher("k")).sort(sent, Source(), AT)

    assert [record.value for record in found.records] == [sent]


def test_sorter_serves_a_suspended_tenant(sorter: Sorter, directory: Directory):
    entry: dict[str, Any] = {"id": "acme", "version": 2, "name": "Acme", "status": "suspended"}
    directory.apply(tenant_tombstone("acme", value=entry))

    assert sorter.sort(body("msg_text"), Source(), AT).kinds == [InboundType.MESSAGE]


@pytest.mark.parametrize(
    ("waba", "expected", "number"),
    [
        pytest.param("W1", [], "n4", id="the-accounts-only-number"),
        pytest.param("100000000000001", ["unexpected_shape"], None, id="one-of-two"),
        pytest.param("W9", ["unknown_number"], None, id="unknown-account"),
    ],
)
def test_regression_sorter_loses_no_message_that_names_no_number(
    sorter: Sorter, directory: Directory, waba: str, expected: list[str], number: str | None
):
    directory.apply(number_record("n4", "400", tenant="acme", waba_id="W1"))
    payload = json.loads(body("msg_text"))
    payload["entry"][0]["id"] = waba
    del payload["entry"][0]["changes"][0]["value"]["metadata"]

    found = sorter.sort(orjson.dumps(payload), Source(), AT)

    assert reasons(found.records) == expected
    items = [record for record in found.records if record.topic is INBOUND]
    assert [orjson.loads(item.value or b"")["number_id"] for item in items] == (
        [number] if number else []
    )
