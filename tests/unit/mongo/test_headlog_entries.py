import bson
import pytest
from pymongo import InsertOne, ReplaceOne, UpdateMany, UpdateOne

from shared.contracts.envelope import Envelope
from shared.contracts.topics import CONVERSATION_EVENTS, OUTBOUND, Topic
from shared.mongo.headlog import (
    Change,
    Entry,
    Insert,
    LogRecord,
    Patch,
    PatchAll,
    Publication,
    Put,
    published,
)
from shared.mongo.headlog.operations import merged_writes, trims


def record(version: int, topic: Topic = CONVERSATION_EVENTS, value: bytes | None = b"{}"):
    envelope = Envelope(
        id=f"c:{version}",
        type="message.received",
        source="inbox",
        time="2026-06-01T12:00:00.123Z",
        tenant="t",
        subject="c",
        sequence=version,
    )
    return LogRecord(topic, "c", value, envelope)


def document(version: int, **members: object):
    return {"_id": "m", "v": version, **members}


ENTRY = Entry(
    version=7,
    events=(record(7), record(7, value=None)),
    documents=(
        Insert("messages", document(7, text="hola")),
        Put("messages", document(7)),
        Patch("contacts", "k", "blocked_v", 7, {"blocked": True}),
        PatchAll("messages", {"conversation": "c"}, 7, {"deleted": True}, ("text",)),
    ),
    commands=(record(7, OUTBOUND),),
)


def stored(entry: Entry):
    """As MongoDB gives it back."""
    return bson.decode(bson.encode(entry.to_document()))


def test_entry_comes_back_from_mongodb_as_it_was():
    assert Entry.from_document(stored(ENTRY)) == ENTRY


def test_entry_of_an_event_alone_stores_no_empty_lists():
    assert set(Entry(1, (record(1),)).to_document()) == {"v", "r"}


def test_repeated_event_is_byte_identical():
    again = Entry.from_document(stored(ENTRY))
    assert [r.out() for r in again.events] == [r.out() for r in ENTRY.events]


@pytest.mark.parametrize(
    ("entries", "version"),
    [
        pytest.param((), 4, id="nothing new"),
        pytest.param((Entry(5),), 5, id="one event"),
        pytest.param((Entry(5), Entry(6)), 6, id="two events"),
    ],
)
def test_change_leads_to_the_version_of_its_last_entry(entries: tuple[Entry, ...], version: int):
    assert Change("c", 4, {}, entries).version == version


def test_publication_of_a_change_begins_with_what_it_carries():
    change = Change("c", 4, {}, entries=(Entry(5),), carried=(Entry(3), Entry(4)))
    assert published(change) == Publication("c", 5, (Entry(3), Entry(4), Entry(5)))


def merged(*writes: Insert | Put | Patch | PatchAll):
    """The operations on the only collection that is written."""
    ((_, operations),) = merged_writes(writes).items()
    return operations


def as_document(written: object):
    return bson.decode(bson.encode(written))  # raw BSON or a dict


def test_created_document_is_inserted():
    (operation,) = merged(Insert("messages", document(1)))
    assert isinstance(operation, InsertOne)
    assert as_document(operation._doc) == document(1)


def test_document_created_and_changed_is_one_guarded_put_of_its_last_state():
    (operation,) = merged(
        Insert("messages", document(1)),
        Put("messages", document(2, text="b")),
        Put("messages", document(3, text="c")),
    )
    assert isinstance(operation, ReplaceOne)
    assert operation._filter == {"_id": "m", "v": {"$lt": 3}}
    assert operation._upsert
    assert as_document(operation._doc) == document(3, text="c")


def test_older_state_never_replaces_a_newer_one():
    (operation,) = merged(Put("messages", document(3)), Put("messages", document(2)))
    assert as_document(operation._doc) == document(3)


def test_equal_ids_of_two_collections_are_two_documents():
    operations = merged_writes([Insert("messages", document(1)), Insert("activities", document(1))])
    assert {name: len(each) for name, each in operations.items()} == {
        "messages": 1,
        "activities": 1,
    }


def test_patch_is_guarded_by_its_own_member():
    (operation,) = merged(Patch("contacts", "k", "blocked_v", 7, {"blocked": True}))
    assert isinstance(operation, UpdateOne)
    assert operation._filter == {
        "_id": "k",
        "$or": [{"blocked_v": {"$lt": 7}}, {"blocked_v": {"$exists": False}}],
    }
    assert operation._doc == {"$set": {"blocked": True, "blocked_v": 7}}


def test_erasure_comes_behind_the_documents_of_the_same_publication():
    operations = merged(
        PatchAll("messages", {"conversation": "c"}, 9, {"deleted": True}, ("text",)),
        Insert("messages", document(8, text="late")),
    )
    assert [type(operation) for operation in operations] == [InsertOne, UpdateMany]
    assert operations[1]._filter == {"conversation": "c", "v": {"$lt": 9}}
    assert operations[1]._doc == {"$set": {"deleted": True, "v": 9}, "$unset": {"text": ""}}


def test_regression_trims_after_an_outage_come_in_short_lists():
    versions = {f"c{place}": place + 1 for place in range(1201)}
    statements = trims(versions)
    ids = [each._filter["_id"]["$in"] for each in statements]
    assert [len(each) for each in ids] == [500, 500, 201]
    assert [each for chunk in ids for each in chunk] == list(versions)
    assert statements[2]._filter["$expr"]["$in"][1][-1] == "c1200:1201"
