"""What a log holds and hands out: records, document writes, entries, heads and changes."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Generic, TypeVar

import bson
from bson.raw_bson import RawBSONDocument

from shared.contracts import topics
from shared.contracts.envelope import Envelope
from shared.contracts.records import OutRecord
from shared.contracts.topics import Topic
from shared.mongo.client import Document
from shared.value import open_value, value

_TOPICS = {topic.base: topic for topic in topics.ALL}


@value
class LogRecord:
    """A record of an entry: stored in the outbox, sent byte for byte the same each time."""

    topic: Topic
    key: str
    value: bytes | None
    envelope: Envelope

    def out(self) -> OutRecord:
        return OutRecord(self.topic, self.key.encode(), self.value, self.envelope.headers())

    def to_document(self) -> Document:
        e = self.envelope
        return {
            "t": self.topic.base,
            "k": self.key,
            "b": self.value,
            "e": [e.id, e.type, e.source, e.time, e.tenant, e.subject, e.sequence, e.traceparent],
        }

    @classmethod
    def from_document(cls, doc: Document) -> LogRecord:
        return cls(_TOPICS[doc["t"]], doc["k"], doc["b"], Envelope(*doc["e"]))


@open_value
class _Whole:
    collection: str
    document: Document
    """Has `_id` and `v`."""

    @cached_property
    def raw(self) -> RawBSONDocument:
        """Encoded once: for the outbox and for the collection."""
        return RawBSONDocument(bson.encode(self.document))


@open_value
class Insert(_Whole):
    """Creates a document; that it is there already is fine."""


@open_value
class Put(_Whole):
    """Replaces a document where its `v` is below this one's, or creates it."""


@value
class Patch:
    """Sets members of a document of another log, guarded by `guard` < `version`."""

    collection: str
    id: str
    guard: str
    version: int
    members: Document


@value
class PatchAll:
    """Sets members of all documents of `query` whose `v` is below `version`."""

    collection: str
    query: Document
    version: int
    members: Document
    unset: tuple[str, ...] = ()


DocumentWrite = Insert | Put | Patch | PatchAll
_KINDS: dict[str, type[DocumentWrite]] = {"i": Insert, "p": Put, "s": Patch, "e": PatchAll}
_TAGS = {kind: tag for tag, kind in _KINDS.items()}


@value
class Entry:
    """One event with every effect that it has.

    `events` are sent in order, `documents` written beside them, `commands` sent after them.
    """

    version: int
    events: tuple[LogRecord, ...] = ()
    documents: tuple[DocumentWrite, ...] = ()
    commands: tuple[LogRecord, ...] = ()

    def to_document(self) -> Document:
        doc: Document = {"v": self.version, "r": [r.to_document() for r in self.events]}
        if self.documents:
            doc["d"] = [_write_to_document(w) for w in self.documents]
        if self.commands:
            doc["c"] = [r.to_document() for r in self.commands]
        return doc

    @classmethod
    def from_document(cls, doc: Document) -> Entry:
        return cls(
            version=doc["v"],
            events=tuple(LogRecord.from_document(r) for r in doc["r"]),
            documents=tuple(_write_from_document(w) for w in doc.get("d", ())),
            commands=tuple(LogRecord.from_document(r) for r in doc.get("c", ())),
        )


def _write_to_document(write: DocumentWrite) -> list[Any]:
    match write:
        case Insert() | Put():
            return [_TAGS[type(write)], write.collection, write.raw]
        case Patch():
            return ["s", write.collection, write.id, write.guard, write.version, write.members]
        case PatchAll():
            unset = list(write.unset)
            return ["e", write.collection, write.query, write.version, write.members, unset]


def _write_from_document(stored: list[Any]) -> DocumentWrite:
    tag, *members = stored
    if tag == "e":
        members[-1] = tuple(members[-1])
    return _KINDS[tag](*members)


@value
class Head:
    """A loaded document: its state without `version` and `outbox`, and what is unpublished."""

    id: str
    version: int
    state: Document
    unpublished: tuple[Entry, ...]


@value
class Change:
    """A compare-and-set: `expected` 0 creates the document."""

    id: str
    expected: int
    state: Document
    entries: tuple[Entry, ...]
    carried: tuple[Entry, ...] = ()
    """`unpublished` of the head that the change was decided on."""

    @property
    def version(self) -> int:
        return self.entries[-1].version if self.entries else self.expected


@value
class Publication:
    """Entries of one head to publish; `entries` are in version order and end at `version`."""

    id: str
    version: int
    entries: tuple[Entry, ...]


T = TypeVar("T")


@value
class Step(Generic[T]):
    """What a decision on one head comes to: a result, and the change to make (None: nothing)."""

    result: T
    change: Change | None = None


def published(change: Change) -> Publication:
    """What is to be published after a change was committed."""
    return Publication(change.id, change.version, change.carried + change.entries)
