"""What was agreed on stays readable, and what is written today still is what was agreed on."""

import json
import re
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from shared.contracts.asyncapi import messages_of
from shared.contracts.base import Payload
from shared.contracts.events import PAYLOADS
from shared.contracts.records import OutRecord
from shared.contracts.topics import ALL, INBOUND
from shared.contracts.views import Conversation, Message
from tests.contracts.golden_files import Golden, first_of_each, load_all
from tests.contracts.samples import records
from tests.contracts.samples.ingest import PAYLOADS as WEBHOOKS
from tests.contracts.samples.ingest import sorted_records

MODELS = {
    f"{kind}.v1": (topic, model) for topic in ALL for kind, model in messages_of(topic).items()
}
GOLDEN = load_all()
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
LIKE_A_TIME = re.compile(r"\d{4}-\d\d-\d\dT.*")
# Section 6 of the design, word for word.
CONVERSATION = """id, version, status, episode, epoch, assignee, team, number, contact, labels,
    unread, last_message, opened_at, closed_at, waiting_since, window_closes_at, updated_at,
    priority, held_by_agent, snoozed_until"""
CONVERSATION_PARTS = {
    "assignee": "id, name",
    "team": "id, name",
    "number": "id, phone_number_id, display_phone_number",
    "contact": "id, name, wa_id, user_id, username, blocked",
    "labels": "id, name, color",
}
MESSAGE = """id, wamid, conversation_id, seq, direction, type, text, media, content, reply_to,
    reactions, edited, revoked, sent_at, received_at, author, client_id, status, error, asked_at"""
MESSAGE_PARTS = {
    "media": "id, mime_type, size, sha256, filename, voice, width, height, duration_ms, state",
    "reactions": "by, emoji",
    "author": "kind, id, name",
    "error": "code, title, detail",
}
golden_files = pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.name)


@pytest.fixture(scope="module")
async def written() -> list[OutRecord]:
    return await records()


def listed(words: str) -> set[str]:
    return {word.strip() for word in words.split(",")}


def with_unknown_members(value: Any) -> Any:
    if isinstance(value, dict):
        inner = {name: with_unknown_members(member) for name, member in value.items()}
        return inner | {"of_a_later_version": {"x": [1]}}
    if isinstance(value, list):
        return [with_unknown_members(one) for one in value]
    return value


def without_unknown_members(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: without_unknown_members(member)
            for name, member in value.items()
            if name != "of_a_later_version"
        }
    if isinstance(value, list):
        return [without_unknown_members(one) for one in value]
    return value


def rewritten(model: BaseModel) -> Any:
    return json.loads(model.model_dump_json(exclude_unset=True))


def lost(agreed: Any, now: Any, path: str = "") -> list[str]:
    """Members of the agreed record that are gone now, or of another JSON type."""
    if isinstance(agreed, dict) and isinstance(now, dict):
        missing = [f"{path}.{name} is gone" for name in agreed.keys() - now.keys()]
        for name in agreed.keys() & now.keys():
            missing += lost(agreed[name], now[name], f"{path}.{name}")
        return missing
    if isinstance(agreed, list) and isinstance(now, list):
        return lost(agreed[0], now[0], f"{path}[]") if agreed and now else []
    return [] if type(agreed) is type(now) else [f"{path} is {type(now).__name__}"]


def times_in(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [found for one in value.values() for found in times_in(one)]
    if isinstance(value, list):
        return [found for one in value for found in times_in(one)]
    return [value] if isinstance(value, str) and LIKE_A_TIME.fullmatch(value) else []


def test_every_type_has_a_golden_file():
    assert {golden.name for golden in GOLDEN} == MODELS.keys()


def test_every_event_type_has_a_topic():
    assert {kind.removesuffix(".v1") for kind in MODELS} >= PAYLOADS.keys()


@golden_files
def test_golden_record_is_on_its_topic(golden: Golden):
    topic, _ = MODELS[golden.name]

    assert golden.topic == topic.base


@golden_files
def test_golden_record_is_read_and_keeps_its_meaning(golden: Golden):
    _, model = MODELS[golden.name]

    found = model.model_validate_json(json.dumps(golden.data))

    assert rewritten(found) == golden.data


@golden_files
def test_golden_record_with_unknown_members_reads_the_same(golden: Golden):
    _, model = MODELS[golden.name]
    later = with_unknown_members(golden.data)

    found = model.model_validate(later)

    assert without_unknown_members(rewritten(found)) == golden.data


async def test_producers_write_every_type(written: list[OutRecord]):
    assert first_of_each(written).keys() == MODELS.keys()


async def test_producers_write_what_the_models_read(written: list[OutRecord]):
    """No member that the model lacks, none of another type, every time in the one format."""
    for golden in first_of_each(written).values():
        _, model = MODELS[golden.name]
        assert rewritten(model.model_validate(golden.data)) == golden.data, golden.name


async def test_producers_keep_what_was_agreed(written: list[OutRecord]):
    now = first_of_each(written)

    gone = {golden.name: lost(golden.data, now[golden.name].data) for golden in GOLDEN}

    assert {name: members for name, members in gone.items() if members} == {}


async def test_producers_keep_their_headers(written: list[OutRecord]):
    now = first_of_each(written)

    for golden in GOLDEN:
        assert golden.headers.keys() <= now[golden.name].headers.keys(), golden.name
        assert now[golden.name].headers["ce_source"] == golden.headers["ce_source"]


async def test_producers_write_times_in_one_format(written: list[OutRecord]):
    """What Meta sent keeps its own form."""
    found = [
        (golden.name, moment)
        for golden in first_of_each(written).values()
        for moment in [golden.headers["ce_time"], *times_in(golden.data)]
    ]

    assert [each for each in found if not TIME.fullmatch(each[1])] == []
    assert len(found) > len(MODELS)


@pytest.mark.parametrize("name", sorted(file.stem for file in WEBHOOKS.glob("*.json")))
def test_inbound_item_of_each_payload_of_meta_fits(name: str):
    for record in [one for one in sorted_records(name) if one.topic is INBOUND]:
        data = json.loads(record.value or b"{}")
        kind = dict(record.headers)["ce_type"].decode().removeprefix("atrio.")
        _, model = MODELS[kind]
        assert rewritten(model.model_validate(data)) == data


def test_conversation_has_the_members_of_the_design():
    assert Conversation.model_fields.keys() == listed(CONVERSATION)
    assert {name: parts_of(Conversation, name) for name in CONVERSATION_PARTS} == {
        name: listed(words) for name, words in CONVERSATION_PARTS.items()
    }


def test_message_has_the_members_of_the_design():
    assert Message.model_fields.keys() == listed(MESSAGE)
    assert {name: parts_of(Message, name) for name in MESSAGE_PARTS} == {
        name: listed(words) for name, words in MESSAGE_PARTS.items()
    }


async def test_every_conversation_event_shows_all_members(written: list[OutRecord]):
    """The design's lists are complete in every event, with null for what there is not."""
    for golden in conversation_events(written):
        assert golden.data["conversation"].keys() == listed(CONVERSATION), golden.name
        if "message" in golden.data:
            assert golden.data["message"].keys() == listed(MESSAGE), golden.name
        else:
            told = {"conversation", "before", "actor", "by", "reason", "explanation"}
            assert golden.data.keys() - {"activity"} == told, golden.name
        assert golden.data["before"].keys() == {"status", "assignee", "team"}, golden.name


def conversation_events(written: list[OutRecord]) -> list[Golden]:
    found = first_of_each(written).values()
    return [golden for golden in found if golden.topic == "conversation.events.v1"]


def parts_of(model: type[Payload], member: str) -> set[str]:
    annotation = model.model_fields[member].annotation
    choices = [annotation, *get_args(annotation)]
    (part,) = [one for one in choices if isinstance(one, type) and issubclass(one, Payload)]
    return set(part.model_fields)
