"""Shapes of WhatsApp that no sample shows: nothing is lost, nothing is larger than it may be."""

from datetime import UTC, datetime
from typing import Any

import pytest

from services.inbox.decisions.parsing import Call, GroupName, Parsed, Recorded, parse
from services.inbox.model.items import EditFact, Fact, Incoming, Person, ReactionFact, StatusFact
from shared.contracts.inbound import InboundType
from shared.ids import IdHasher

AT = datetime(2026, 6, 1, 12, tzinfo=UTC)
IDS = IdHasher("key-secret")
HUGE = "A" * 3_000_000


def read(item: dict[str, Any], *contacts: object, kind: str = InboundType.MESSAGE) -> Parsed:
    value = {"item": item, "contacts": list(contacts), "number_id": "n"}
    found = parse(kind, "acme", "ce", value, AT, IDS)
    assert isinstance(found, Parsed)
    return found


def message(**members: Any) -> dict[str, Any]:
    return {"id": "wamid.A", "from": "12025550111", "type": "text", **members}


def incoming(item: dict[str, Any], *contacts: object) -> Incoming:
    found = read(item, *contacts).item
    assert isinstance(found, Incoming)
    return found


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        pytest.param("1780000000", datetime.fromtimestamp(1780000000, UTC), id="text"),
        pytest.param(1780000000, datetime.fromtimestamp(1780000000, UTC), id="int"),
        pytest.param(1780000000.0, datetime.fromtimestamp(1780000000, UTC), id="float"),
        pytest.param("1780000000123", datetime.fromtimestamp(1780000000, UTC), id="milliseconds"),
        pytest.param(None, AT, id="none"),
        pytest.param("yesterday", AT, id="words"),
        pytest.param(10**40, AT, id="huge"),
        pytest.param(float("inf"), AT, id="infinite"),
        pytest.param("-5", AT, id="before-1970"),
    ],
)
def test_timestamp_is_read_or_that_of_the_arrival(timestamp: object, expected: datetime):
    assert incoming(message(timestamp=timestamp)).sent_at == expected


@pytest.mark.parametrize(
    ("members", "contact", "expected"),
    [
        pytest.param({"from": None}, {"user_id": "US.1"}, ("US.1", None), id="only-a-contact"),
        pytest.param({}, {"user_id": "US.1"}, ("US.1", "12025550111"), id="phone-and-bsuid"),
        pytest.param({}, {"wa_id": "12025550122"}, (None, "12025550111"), id="somebody-else"),
        pytest.param(
            {"from": "5511900000001"},
            {"wa_id": "551100000001", "user_id": "BR.1"},
            ("BR.1", "5511900000001"),
            id="two-spellings",
        ),
        pytest.param({"from": "", "from_user_id": "US.2"}, None, ("US.2", None), id="empty-phone"),
        pytest.param(
            {"from": None, "type": "system", "system": {"customer": "12025550133"}},
            None,
            (None, "12025550133"),
            id="old-system-message",
        ),
        pytest.param(
            {"from": None, "type": "system", "system": {"user_id": "US.3", "wa_id": 12025550144}},
            None,
            ("US.3", "12025550144"),
            id="system-message-of-the-new-identity-alone",
        ),
        pytest.param(
            {"from": 12025550111, "from_user_id": None},
            {"wa_id": "12025550111", "user_id": "US.1", "profile": None},
            ("US.1", "12025550111"),
            id="number-and-text",
        ),
    ],
)
def test_person_is_who_message_and_contact_tell(
    members: dict[str, Any], contact: object, expected: tuple[str | None, str | None]
):
    person = read(message(**members), contact).person

    assert (person.user_id, person.wa_id) == expected


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        pytest.param({"text": {"body": "Hola"}}, ("text", "Hola"), id="text"),
        pytest.param({"image": {"id": "1", "caption": "Here"}}, ("image", "Here"), id="image"),
        pytest.param({"text": {"body": "a"}, "image": {}}, ("unsupported", None), id="ambiguous"),
        pytest.param({}, ("unsupported", None), id="nothing"),
    ],
)
def test_message_without_a_type_is_what_it_holds(item: dict[str, Any], expected: object):
    body = incoming({"id": "wamid.A", "from": "1", **item}).body

    assert (body.type, body.text) == expected


def test_regression_no_id_or_name_is_longer_than_any_of_metas():
    """Each would be repeated in every event: one made to be huge stopped its whole partition."""
    found = read(
        message(id=HUGE, type="document", document={"id": "1", "filename": HUGE, "url": HUGE}),
        {"wa_id": "12025550111", "user_id": HUGE, "profile": {"name": HUGE, "username": HUGE}},
    )
    item, person = found.item, found.person

    assert isinstance(item, Incoming)
    assert item.body.media is not None
    kept = (item.wamid, person.user_id, person.name, person.username, item.body.media.filename)
    assert max(len(each or "") for each in kept) <= 1024
    assert item.body.media.url is None
    assert item.body.content["truncated"] is True


def test_long_ids_stay_different():
    assert read(message(**{"from": HUGE})).person != read(message(**{"from": HUGE + "B"})).person
    assert incoming(message(id="wamid.A\x00")).id != incoming(message(id="wamid.A")).id


def test_regression_huge_edits_reactions_and_errors_are_cut():
    edit = message(
        type="edit",
        edit={
            "original_message_id": "wamid.B",
            "message": {"type": "text", "text": {"body": HUGE}},
        },
    )
    reaction = message(type="reaction", reaction={"message_id": "wamid.B", "emoji": HUGE})
    status = {
        "id": "wamid.B",
        "status": "failed",
        "errors": [{"code": 2**64 - 1, "title": HUGE, "details": HUGE}],
        "biz_opaque_callback_data": HUGE,
    }
    edited, reacted = read(edit).item, read(reaction).item
    failed = read(status, kind=InboundType.STATUS).item

    assert isinstance(edited, Fact)
    assert isinstance(edited.fact, EditFact)
    assert edited.fact.body.text == "A" * 4096
    assert isinstance(reacted, Fact)
    assert isinstance(reacted.fact, ReactionFact)
    assert len(reacted.fact.emoji or "") == 64
    assert isinstance(failed, Fact)
    assert isinstance(failed.fact, StatusFact)
    assert failed.fact.error is not None
    assert failed.fact.error.code == str(2**64 - 1)
    assert len(failed.fact.error.title or "") == 1024
    assert len(failed.refs) == 1


def test_regression_words_for_true_count_and_a_referral_is_an_object():
    voice = incoming(message(type="audio", audio={"id": 7, "voice": "true"})).body
    forwarded = incoming(message(text={"body": 5}, context={"forwarded": "true"})).body
    advertised = incoming(message(text={"body": "a"}, referral="x")).body

    assert voice.media is not None
    assert (voice.media.voice, voice.media.whatsapp_id) == (True, "7")
    assert (forwarded.text, forwarded.content["forwarded"]) == ("5", True)
    assert "referral" not in advertised.content


@pytest.mark.parametrize("named", ["voice", "audio"])
def test_voice_is_audio_wherever_its_file_is_named(named: str):
    body = incoming(message(type="voice", **{named: {"id": "7", "mime_type": "audio/ogg"}})).body

    assert body.media is not None
    assert (body.type, body.media.voice, body.media.whatsapp_id) == ("audio", True, "7")


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"contacts": [{"origin": "contact_request"}]}, id="in-the-contact"),
        pytest.param({"contacts": [{}], "origin": "contact_request"}, id="beside-the-type"),
    ],
)
def test_contacts_tell_that_they_were_asked_for(members: dict[str, Any]):
    assert incoming(message(type="contacts", **members)).body.content["origin"] == "contact_request"


def test_regression_edit_does_not_make_its_message_an_answer():
    words = {"type": "text", "text": {"body": "new"}, "context": {"id": "M0"}}
    edit = message(type="edit", edit={"original_message_id": "wamid.B", "message": words})
    found = read(edit).item

    assert isinstance(found, Fact)
    assert isinstance(found.fact, EditFact)
    assert (found.fact.body.text, found.fact.body.content) == ("new", {})


def test_regression_members_of_a_group_are_authors_of_their_own():
    one, other, reaction = (
        read(message(group_id="G1", from_user_id=user, **members)).item
        for user, members in (
            ("US.1", {}),
            ("US.2", {}),
            ("US.1", {"type": "reaction", "reaction": {"message_id": "wamid.B", "emoji": "A"}}),
        )
    )

    assert isinstance(one, Incoming)
    assert isinstance(other, Incoming)
    assert isinstance(reaction, Fact)
    assert isinstance(reaction.fact, ReactionFact)
    assert None not in (one.author_id, other.author_id)
    assert one.author_id == reaction.fact.by != other.author_id
    assert incoming(message()).author_id is None


def test_change_of_number_of_the_old_kind_links_both():
    told = {
        "type": "customer_changed_number",
        "customer": "12025550111",
        "new_wa_id": "12025550122",
    }
    found = read({"id": "wamid.A", "type": "system", "system": told})

    assert found.relink is not None
    assert (found.relink.previous.wa_id, found.relink.current.wa_id) == (
        "12025550111",
        "12025550122",
    )


@pytest.mark.parametrize(
    ("kind", "item"),
    [
        pytest.param(InboundType.STATUS, {"id": "wamid.A"}, id="status-without-name"),
        pytest.param(InboundType.STATUS, {"id": "wamid.A", "status": [1]}, id="status-of-a-list"),
        pytest.param(InboundType.STATUS, {"status": "sent"}, id="status-of-nothing"),
        pytest.param(InboundType.MESSAGE, {"type": "text"}, id="message-without-id"),
        pytest.param(InboundType.ECHO, {"id": None}, id="echo-without-id"),
    ],
)
def test_regression_item_that_says_nothing_is_recorded_and_parks_nobody(
    kind: InboundType, item: dict[str, Any]
):
    value = {"item": item, "field": "messages", "number_id": "n"}

    found = parse(kind, "acme", "ce", value, AT, IDS)

    assert isinstance(found, Recorded)
    assert (found.id, found.number_id, found.field) == ("ce", "n", "messages")


RINGS = {"from": "12025550111", "direction": "USER_INITIATED", "event": "connect"}
OVER = {"from": "12025550111", "direction": "USER_INITIATED", "event": "terminate"}
BEGAN = datetime.fromtimestamp(1780000000, UTC)


@pytest.mark.parametrize(
    ("item", "at"),
    [
        pytest.param({**RINGS, "timestamp": "1780000000"}, BEGAN, id="rings"),
        pytest.param({**RINGS, "timestamp": 1780000000}, BEGAN, id="rings-int"),
        pytest.param(
            {**OVER, "timestamp": "1780000120", "start_time": "1780000000"}, BEGAN, id="over"
        ),
        pytest.param({**OVER, "timestamp": "1780000120"}, None, id="over-untaken"),
        pytest.param({**RINGS, "from": None, "timestamp": "1780000000"}, None, id="nobody"),
        pytest.param(
            {**RINGS, "direction": "BUSINESS_INITIATED", "timestamp": "1780000000"}, None, id="ours"
        ),
    ],
)
def test_call_of_the_customer_is_told_with_its_beginning(item: dict[str, Any], at: datetime | None):
    value = {"item": item, "field": "calls", "number_id": "n", "contacts": None}

    found = parse(InboundType.CHANGE, "acme", "ce", value, AT, IDS)

    assert isinstance(found, Recorded)
    assert found.call == (None if at is None else Call(Person(wa_id="12025550111"), at))


@pytest.mark.parametrize(
    ("field", "item", "expected"),
    [
        pytest.param(
            "group_lifecycle_update",
            {"group_id": "G1", "type": "group_create", "subject": "Neighbours"},
            GroupName("G1", "Neighbours"),
            id="made",
        ),
        pytest.param(
            "group_settings_update",
            {"group_id": "G1", "group_subject": {"text": "Street", "update_successful": True}},
            GroupName("G1", "Street"),
            id="renamed",
        ),
        pytest.param(
            "group_settings_update",
            {"group_id": "G1", "group_subject": {"text": "Street", "update_successful": False}},
            None,
            id="not-renamed",
        ),
        pytest.param("account_update", {"group_id": "G1", "subject": "x"}, None, id="no-group"),
    ],
)
def test_group_is_called_by_its_subject(field: str, item: dict[str, Any], expected: object):
    value = {"item": item, "field": field, "number_id": "n"}

    found = parse(InboundType.CHANGE, "acme", "ce", value, AT, IDS)

    assert isinstance(found, Recorded)
    assert found.group == expected
