"""The list of topics says what the design says, and so does everything generated from it."""

import re
from datetime import timedelta

import pytest

from deploy.local.home import ROOT
from shared.contracts import asyncapi
from shared.contracts.topics import ALL, DEAD_LETTER_RETENTION, PersonalData, Topic, Visibility
from shared.kafka import strimzi
from shared.kafka.settings import KafkaSettings
from tests.contracts.golden_files import Golden, load_all

PUBLIC, INTERNAL = Visibility.PUBLIC, Visibility.INTERNAL
# The table of section 3: visibility, retention in days, written by, what its values hold.
DESIGN = {
    "whatsapp.inbound.v1": (INTERNAL, 14, {"ingest"}, PersonalData.MESSAGES),
    "whatsapp.quarantine.v1": (INTERNAL, 30, {"ingest"}, PersonalData.MESSAGES),
    "conversation.events.v1": (PUBLIC, 30, {"inbox"}, PersonalData.MESSAGES),
    "routing.decisions.v1": (PUBLIC, 30, {"routing"}, PersonalData.NONE),
    "whatsapp.outbound.v1": (INTERNAL, 14, {"inbox"}, PersonalData.MESSAGES),
    "delivery.events.v1": (INTERNAL, 14, {"delivery"}, PersonalData.IDENTIFIERS),
    "agent.events.v1": (PUBLIC, 7, {"notifier", "inbox"}, PersonalData.NONE),
    "contact.events.v1": (PUBLIC, 30, {"inbox"}, PersonalData.NAMES),
    "account.events.v1": (PUBLIC, 30, {"inbox"}, PersonalData.NONE),
    "directory.v1": (INTERNAL, None, {"inbox"}, PersonalData.NAMES),
    "credentials.v1": (INTERNAL, None, {"inbox"}, PersonalData.SECRETS),
}
READERS = {
    "whatsapp.inbound.v1": {"inbox"},
    "conversation.events.v1": {"notifier", "routing", "anybody"},
    "routing.decisions.v1": {"inbox", "anybody"},
    "whatsapp.outbound.v1": {"delivery"},
    "delivery.events.v1": {"inbox"},
    "agent.events.v1": {"routing", "notifier", "inbox"},
    "contact.events.v1": {"notifier", "anybody"},
    "account.events.v1": {"anybody"},
    "credentials.v1": {"ingest", "delivery"},
}
KEYS = {
    "whatsapp.inbound.v1": "keyed hash of (number, group or customer)",
    "conversation.events.v1": "conversation id",
    "routing.decisions.v1": "conversation id",
    "whatsapp.outbound.v1": "conversation id",
    "delivery.events.v1": "conversation id (or number)",
    "agent.events.v1": "agent id",
    "contact.events.v1": "contact id",
    "account.events.v1": "tenant + account",
    "directory.v1": "tenant + entity id",
    "credentials.v1": "number id",
}
# The people of the samples, by every name that they have.
PERSONAL = re.compile(r"wamid|12025550|\bAna\b|Example|US\.9|\+\d{6}|@", re.IGNORECASE)
topics = pytest.mark.parametrize("topic", ALL, ids=lambda topic: topic.base)


def test_topics_are_those_of_the_design():
    assert {
        topic.base: (
            topic.visibility,
            None if topic.retention is None else topic.retention // timedelta(days=1),
            set(topic.owner),
            topic.personal_data,
        )
        for topic in ALL
    } == DESIGN


def test_topics_have_the_readers_and_keys_of_the_design():
    by_name = {topic.base: topic for topic in ALL}

    assert {name: set(by_name[name].readers) for name in READERS} == READERS
    assert {name: by_name[name].key for name in KEYS} == KEYS


@topics
def test_topic_has_twelve_partitions(topic: Topic):
    assert topic.partitions == 12


@topics
def test_topic_without_retention_is_compacted(topic: Topic):
    assert topic.compacted is (topic.retention is None)


def test_dead_letters_are_kept_for_thirty_days():
    assert timedelta(days=30) == DEAD_LETTER_RETENTION


@topics
def test_topic_name_has_prefix_and_lane_around(topic: Topic):
    assert topic.name() == topic.base
    assert topic.name("acme-", "big") == f"acme-{topic.base}.big"
    assert topic.dead_name("acme-", "big") == f"acme-{topic.base}.big.dead"


@topics
def test_topic_name_is_legal_with_a_long_prefix(topic: Topic):
    name = topic.dead_name("p" * 30, "lane")

    assert re.fullmatch(r"[a-z0-9._-]{1,249}", name)


@pytest.mark.parametrize("golden", load_all(), ids=lambda golden: golden.name)
def test_key_and_headers_hold_nothing_personal(golden: Golden):
    found = [golden.key, *golden.headers.values()]

    assert [text for text in found if PERSONAL.search(text)] == []


@pytest.mark.parametrize("golden", load_all(), ids=lambda golden: golden.name)
def test_values_hold_only_what_the_topic_declares(golden: Golden):
    declared = DESIGN[golden.topic][3]
    if declared is PersonalData.NONE:
        assert not PERSONAL.search(str(golden.data))


# --- what is generated ---------------------------------------------------------------------------


def test_asyncapi_file_is_up_to_date(capsys: pytest.CaptureFixture[str]):
    assert asyncapi.main([]) == 0

    assert (ROOT / "docs/contracts/asyncapi.json").read_text() == capsys.readouterr().out


def test_table_of_topics_is_up_to_date(capsys: pytest.CaptureFixture[str]):
    assert asyncapi.main(["table"]) == 0

    assert (ROOT / "docs/contracts/topics.md").read_text() == capsys.readouterr().out


def test_strimzi_file_is_up_to_date():
    plain = KafkaSettings(topic_prefix="", lane="", kafka_partitions=None)

    assert (ROOT / "deploy/kafka/topics.yaml").read_text() == strimzi.resources(plain)


def test_strimzi_has_every_topic_and_its_dead_letters():
    written = (ROOT / "deploy/kafka/topics.yaml").read_text()
    names = re.findall(r"topicName: (\S+)", written)

    wanted = [topic.base for topic in ALL]
    wanted += [topic.dead_name() for topic in ALL if topic.dead_letters]
    assert sorted(names) == sorted(wanted)


def test_asyncapi_references_lead_somewhere():
    document = asyncapi.document()

    def references(value: object) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [found for one in value.values() for found in references(one)]
        if isinstance(value, list):
            return [found for one in value for found in references(one)]
        return []

    for reference in set(references(document)):
        place = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
        assert place


def test_asyncapi_tells_who_sends_and_who_receives():
    operations = asyncapi.document()["operations"]

    assert operations["ingest.send.whatsapp.inbound.v1"]["action"] == "send"
    assert operations["notifier.receive.conversation.events.v1"]["action"] == "receive"


def test_unknown_argument_explains_itself(capsys: pytest.CaptureFixture[str]):
    assert asyncapi.main(["yaml"]) == 2

    assert "asyncapi.json" in capsys.readouterr().err
