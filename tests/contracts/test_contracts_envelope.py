"""The envelope beside the CloudEvents SDK: what we write, anybody's library reads."""

import json
from datetime import UTC

import pytest
from cloudevents.core.bindings import kafka as sdk
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.envelope import Envelope, parse_timestamp, read_envelope, timestamp
from shared.contracts.errors import EnvelopeError, PermanentError
from tests.contracts.golden_files import Golden, load_all
from tests.contracts.samples.directory import tombstones

ENVELOPE = Envelope(
    id="conversation-1:7",
    type="message.received",
    source="inbox",
    time="2026-06-01T12:00:00.123Z",
    tenant="tenant-1",
    subject="conversation-1",
    sequence=7,
)
# What is a header in UTF-8: no lone surrogates.
text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
envelopes = st.builds(
    Envelope,
    id=text,
    type=text,
    source=text,
    time=st.datetimes(timezones=st.just(UTC)).map(timestamp),
    tenant=text,
    subject=st.none() | text,
    sequence=st.none() | st.integers(min_value=0),
    traceparent=st.none() | text,
)


@pytest.mark.parametrize("golden", load_all(), ids=lambda golden: golden.name)
def test_sdk_reads_our_records(golden: Golden):
    ours = read_envelope(golden.wire_headers())
    value = json.dumps(golden.data).encode()

    event = sdk.from_binary_event(
        sdk.KafkaMessage(dict(golden.wire_headers()), golden.key.encode(), value)
    )

    assert event.get_id() == ours.id
    assert event.get_type() == f"atrio.{golden.name}"
    assert event.get_source() == ours.source
    assert event.get_subject() == ours.subject
    assert event.get_time() == parse_timestamp(ours.time)
    assert event.get_extension("tenantid") == ours.tenant
    assert event.get_datacontenttype() == "application/json"
    assert event.get_data() == golden.data


def test_we_read_what_the_sdk_writes():
    attributes = {
        "id": "1",
        "type": "atrio.message.received.v1",
        "source": "elsewhere",
        "specversion": "1.0",
        "time": parse_timestamp("2026-06-01T12:00:00.123Z"),
        "tenantid": "tenant-1",
        "sequence": "12",
        "datacontenttype": "application/json",
    }

    written = sdk.to_binary_event(CloudEvent(attributes, {"x": 1}))
    found = read_envelope(written.headers.items())

    assert (found.id, found.type, found.source) == ("1", "message.received", "elsewhere")
    assert (found.tenant, found.sequence, found.subject) == ("tenant-1", 12, None)
    assert parse_timestamp(found.time) == attributes["time"]


@given(envelopes)
def test_envelope_survives_the_wire(envelope: Envelope):
    assert read_envelope(envelope.headers()) == envelope


@given(st.lists(st.tuples(st.text(), st.binary())))
def test_any_headers_are_an_envelope_or_an_error(headers: list[tuple[str, bytes]]):
    with pytest.raises(EnvelopeError):
        read_envelope([pair for pair in headers if pair[0] != "ce_id"])


@given(st.sampled_from(ENVELOPE.headers()), st.binary())
def test_any_value_of_a_header_is_an_envelope_or_an_error(header: tuple[str, bytes], value: bytes):
    try:
        read_envelope([*ENVELOPE.headers(), (header[0], value)])
    except EnvelopeError as error:
        assert error.reason == "bad_envelope"  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize("name", ["ce_id", "ce_type", "ce_source", "ce_time", "ce_tenantid"])
def test_missing_attribute_is_a_permanent_error(name: str):
    headers = [header for header in ENVELOPE.headers() if header[0] != name]

    with pytest.raises(PermanentError, match=name):
        read_envelope(headers)


@pytest.mark.parametrize(
    "name",
    ["ce_id", "ce_type", "ce_source", "ce_time", "ce_tenantid", "ce_subject", "ce_sequence"],
)
def test_header_that_is_not_utf8_is_a_permanent_error(name: str):
    with pytest.raises(EnvelopeError):
        read_envelope([*ENVELOPE.headers(), (name, b"\xff\xfe")])


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(b"com.example.thing", id="of somebody else"),
        pytest.param(b"atrio.message.received.v2", id="of a later version"),
        pytest.param(b"", id="empty"),
    ],
)
def test_type_that_is_not_ours_is_a_permanent_error(kind: bytes):
    with pytest.raises(EnvelopeError):
        read_envelope([*ENVELOPE.headers(), ("ce_type", kind)])


def test_unreadable_trace_does_not_spoil_a_record():
    found = read_envelope([*ENVELOPE.headers(), ("traceparent", b"\xff")])

    assert found.id == ENVELOPE.id


def test_unknown_headers_are_ignored():
    assert read_envelope([*ENVELOPE.headers(), ("x-other", b"\xff")]) == ENVELOPE


def test_tombstone_has_no_value_and_a_whole_envelope():
    found = tombstones()

    assert [record.topic.base for record in found] == ["directory.v1", "credentials.v1"]
    for record in found:
        envelope = read_envelope(record.headers)
        assert record.value is None
        assert record.key
        assert (envelope.tenant, envelope.subject) == ("tenant-1", "number-1")
        assert envelope.sequence is not None


def test_repeated_event_is_byte_identical():
    assert ENVELOPE.headers() == read_envelope(ENVELOPE.headers()).headers()
