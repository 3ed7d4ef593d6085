"""A document that is the head of its log: every change is one compare-and-set on one document.

The rules are those of `models/inbox_model.py`; each one left out has a failing trace there.

1. `load` heads with read concern majority; `unpublished` are the outbox entries that this process
   does not know to be published.
2. The caller looks up what it needs *after* the load and decides.
3. `commit` is one bulk write of compare-and-sets on `version`. The new outbox is
   `unpublished + new entries`; an entry holds every effect of its event.
4. `publish` writes the documents of the entries and sends their events in version order, in
   parallel; commands go after the documents.
5. Only when both are done the process remembers (id, version) as published.
6. Trims are lazy, in bulk, w:1, by `$pull` and only where the version is still the one published.
7. A commit that is not certain starts again at 1.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakValueDictionary

import bson
from bson.raw_bson import RawBSONDocument
from pymongo import InsertOne, ReplaceOne, UpdateMany, UpdateOne
from pymongo.errors import BulkWriteError

from shared.contracts import topics
from shared.contracts.envelope import Envelope
from shared.contracts.errors import TransientError
from shared.contracts.records import OutRecord
from shared.contracts.topics import Topic
from shared.faults import FaultPoints, NoFaults
from shared.mongo.client import (
    DUPLICATE_KEY,
    Collection,
    Database,
    Document,
    causal_reads,
    causal_session,
    transient_errors,
    unacknowledged_by_majority,
)
from shared.value import open_value, value

_TOPICS = {topic.base: topic for topic in topics.ALL}
_REMEMBERED = 200_000
ROUNDS = 10
_TURN_SECONDS = 1.0


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


class ContentionError(TransientError):
    """Lost the compare-and-set in every round."""


class RunPublisher(Protocol):
    """What the log needs of a publisher (`shared.kafka.publisher.Publisher`)."""

    async def publish_runs(
        self,
        runs: Sequence[Sequence[OutRecord]],
        *,
        timeout: timedelta = ...,  # noqa: ASYNC109 - the publisher's own limit
    ) -> list[bool]: ...


T = TypeVar("T")


@value
class Step(Generic[T]):
    """What a decision on one head comes to: a result, and the change to make (None: nothing)."""

    result: T
    change: Change | None = None


Settle = Callable[[Sequence[Publication]], Awaitable[None]]


async def _settle_nothing(_: Sequence[Publication]) -> None:
    return None


@dataclass(slots=True)
class HeadLogOptions:
    """Times of a log; `produce_timeout` bounds one publication."""

    trim_every: timedelta = timedelta(milliseconds=50)
    sweep_every: timedelta = timedelta(seconds=1)
    sweep_older_than: timedelta = timedelta(seconds=2)
    sweep_limit: int = 200
    produce_timeout: timedelta = timedelta(seconds=10)
    settle: Settle = field(default=_settle_nothing)
    """Runs after documents and events of a publication, before it is remembered."""
    oldest: Callable[[float], None] = lambda _: None
    """Told the age of the oldest outbox, in seconds, at every sweep."""
    committed: Callable[[int, int], None] = lambda _, __: None
    """Told how many compare-and-sets of a commit won, and how many did not surely."""


class HeadLog:
    """The log of one collection. `run` trims and sweeps until it is cancelled."""

    def __init__(
        self,
        database: Database,
        collection: str,
        publisher: RunPublisher,
        *,
        options: HeadLogOptions | None = None,
        faults: FaultPoints | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._collection: Collection = database[collection]
        self._trims: Collection = unacknowledged_by_majority(database[collection])
        self._publisher = publisher
        self.options = options or HeadLogOptions()
        self._faults = faults or NoFaults()
        self._clock = clock
        self._published: OrderedDict[str, int] = OrderedDict()
        self._to_trim: dict[str, int] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._background: set[asyncio.Task[None]] = set()

    async def ensure_indexes(self) -> None:
        """The sweeper's partial index."""
        with transient_errors():
            await self._collection.create_index(
                "outbox_at",
                name="outbox_at",
                partialFilterExpression={"outbox_at": {"$type": "date"}},
            )

    # -- 1 load

    def causal_reads(self) -> AbstractAsyncContextManager[None]:
        """Around a load and what is looked up after it: a failover between them is no hole."""
        return causal_reads(self._database)

    async def load(self, ids: Iterable[str]) -> dict[str, Head]:
        """The heads that exist, by id."""
        wanted = list(ids)
        if not wanted:
            return {}
        with transient_errors():
            docs = await self._collection.find(
                {"_id": {"$in": wanted}}, session=causal_session()
            ).to_list(None)
        return {doc["_id"]: self.head(doc) for doc in docs}

    def head(self, doc: Document) -> Head:
        """The head in a document that was read from the collection (it is consumed)."""
        head_id = doc["_id"]
        known = self._published.get(head_id, 0)
        outbox = doc.pop("outbox", ())
        doc.pop("outbox_at", None)
        return Head(
            id=head_id,
            version=doc.pop("version"),
            state=doc,
            unpublished=tuple(Entry.from_document(e) for e in outbox if e["v"] > known),
        )

    # -- 3 commit

    async def commit(self, changes: Sequence[Change]) -> frozenset[str]:
        """Writes the compare-and-sets in one bulk; returns the ids that surely won.

        Any other id lost or is not certain: load and decide again. Raises TransientError when
        nothing is known of the outcome.
        """
        if not changes:
            return frozenset()
        now = self._clock()
        operations: list[Any] = [self._operation(change, now) for change in changes]
        try:
            with transient_errors():
                result = await self._collection.bulk_write(operations, ordered=False)
        except BulkWriteError as error:
            won = self._certain(changes, error.details)
        else:
            won = self._certain(changes, result.bulk_api_result)
        self.options.committed(len(won), len(changes) - len(won))
        await self._faults.reach("committed")
        return won

    def _operation(self, change: Change, now: datetime) -> Any:
        entries = change.carried + change.entries
        document = {
            **change.state,
            "_id": change.id,
            "version": change.version,
            "outbox": [entry.to_document() for entry in entries],
        }
        if entries:
            document["outbox_at"] = now
        if change.expected == 0:
            return InsertOne(document)
        return ReplaceOne({"_id": change.id, "version": change.expected}, document)

    @staticmethod
    def _certain(changes: Sequence[Change], details: Mapping[str, Any]) -> frozenset[str]:
        lost: set[str] = set()
        for error in details.get("writeErrors", ()):
            if error["code"] != DUPLICATE_KEY:
                raise BulkWriteError(dict(details))
            lost.add(changes[error["index"]].id)
        replaces = [c.id for c in changes if c.expected != 0 and c.id not in lost]
        if details["nMatched"] != len(replaces):
            lost.update(replaces)  # which of them is not told: none is certain
        return frozenset(c.id for c in changes if c.id not in lost)

    # -- 4, 5 publish

    async def publish(self, publications: Sequence[Publication]) -> None:
        """Documents and events in parallel, then commands; remembers what is wholly done.

        Raises TransientError when any publication is not done; the others are remembered.
        """
        todo = [p for p in publications if p.entries]
        if not todo:
            return
        runs = [[r.out() for entry in p.entries for r in entry.events] for p in todo]
        sent, _ = await asyncio.gather(self._send(runs), self._write_documents(todo))
        commands = [[r.out() for entry in p.entries for r in entry.commands] for p in todo]
        if any(commands):
            ready = [run if ok else [] for run, ok in zip(commands, sent, strict=True)]
            sent = [a and b for a, b in zip(sent, await self._send(ready), strict=True)]
        done = [p for p, ok in zip(todo, sent, strict=True) if ok]
        if done:
            await self._faults.reach("acknowledged")
            await self.options.settle(done)
            await self._faults.reach("published")
            for publication in done:
                self._remember(publication.id, publication.version)
        if len(done) != len(todo):
            raise TransientError("events were not acknowledged")

    async def _send(self, runs: Sequence[Sequence[OutRecord]]) -> list[bool]:
        await self._faults.reach("send")
        if not any(runs):
            return [True] * len(runs)
        return await self._publisher.publish_runs(runs, timeout=self.options.produce_timeout)

    async def _write_documents(self, publications: Sequence[Publication]) -> None:
        await self._faults.reach("write")
        per_collection = _merge_writes(
            write for p in publications for entry in p.entries for write in entry.documents
        )
        await asyncio.gather(
            *(self._write(name, operations) for name, operations in per_collection.items())
        )
        await self._faults.reach("written")

    async def _write(self, collection: str, operations: list[Any]) -> None:
        with transient_errors():
            try:
                await self._database[collection].bulk_write(operations, ordered=False)
            except BulkWriteError as error:
                details = error.details or {}
                if details.get("writeConcernErrors") or any(
                    e["code"] != DUPLICATE_KEY for e in details.get("writeErrors", ())
                ):
                    raise

    def _remember(self, head_id: str, version: int) -> None:
        if version > self._published.get(head_id, 0):
            self._published[head_id] = version
            self._published.move_to_end(head_id)
            self._to_trim[head_id] = version
            if len(self._published) > _REMEMBERED:
                self._published.popitem(last=False)

    # -- one head (REST, timers)

    async def change(self, head_id: str, decide: Callable[[Head | None], Awaitable[Step[T]]]) -> T:
        """Loads, decides and writes one head until the compare-and-set wins; then answers.

        `decide` runs once a round, after the load; it must be idempotent. What it raises passes.
        The publication goes on behind the answer. Raises ContentionError after ten rounds.
        """
        async with self._turn(head_id):
            for attempt in range(ROUNDS):
                if attempt:
                    await asyncio.sleep(_jitter(attempt))
                async with self.causal_reads():
                    head = (await self.load([head_id])).get(head_id)
                    await self._faults.reach("loaded")
                    step = await decide(head)
                if step.change is None:
                    return step.result
                if head_id in await self.commit([step.change]):
                    self.publish_soon([published(step.change)])
                    return step.result
        raise ContentionError("too many writers")

    @asynccontextmanager
    async def _turn(self, head_id: str) -> AsyncIterator[None]:
        """Callers of one process take turns instead of rounds; nothing relies on it.

        Whoever waited for long goes on beside the others: an outage is told to each in time.
        """
        turn = self._turns.setdefault(head_id, asyncio.Lock())
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await turn.acquire()
        except TimeoutError:
            yield
            return
        try:
            yield
        finally:
            turn.release()

    def publish_soon(self, publications: Sequence[Publication]) -> None:
        """Publishes in the background; what fails is left to the sweeper."""
        task = asyncio.create_task(self._publish_quietly(publications))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _publish_quietly(self, publications: Sequence[Publication]) -> None:
        try:
            await self.publish(publications)
        except TransientError:
            return  # the entries stay in the outbox: the sweeper repeats them

    # -- 6 trim, sweep

    async def run(self) -> None:
        """Trims and sweeps until cancelled."""
        await asyncio.gather(self._trim_loop(), self._sweep_loop())

    async def aclose(self) -> None:
        """Waits for what is being published, then trims once more."""
        if self._background:
            await asyncio.wait(self._background, timeout=10)
        try:
            await self.trim()
        except TransientError:
            return

    async def _trim_loop(self) -> None:
        while True:
            await asyncio.sleep(self.options.trim_every.total_seconds())
            try:
                await self.trim()
            except TransientError:
                await asyncio.sleep(1)

    async def trim(self) -> None:
        """Takes published entries out of the outboxes of heads that nobody changed since.

        A head with a newer version is left: who wrote it carries or leaves out the entries.
        """
        if not self._to_trim:
            return
        batch, self._to_trim = self._to_trim, {}
        try:
            with transient_errors():
                await self._trims.bulk_write(
                    [
                        UpdateOne(
                            {"_id": head_id, "version": version},
                            {
                                "$pull": {"outbox": {"v": {"$lte": version}}},
                                "$unset": {"outbox_at": ""},
                            },
                        )
                        for head_id, version in batch.items()
                    ],
                    ordered=False,
                )
        except TransientError:
            self._to_trim = {**batch, **self._to_trim}
            raise
        await self._faults.reach("trimmed")

    async def _sweep_loop(self) -> None:
        while True:
            await asyncio.sleep(self.options.sweep_every.total_seconds())
            try:
                await self.sweep()
            except TransientError:
                await asyncio.sleep(1)

    async def sweep(self) -> int:
        """Publishes outboxes that nobody emptied in time; returns how many heads were found."""
        now = self._clock()
        limit = now - self.options.sweep_older_than
        with transient_errors():
            docs = await (
                self._collection.find({"outbox_at": {"$lt": limit}})
                .sort("outbox_at", 1)
                .limit(self.options.sweep_limit)
                .to_list(None)
            )
        self.options.oldest((now - docs[0]["outbox_at"]).total_seconds() if docs else 0.0)
        heads = [self.head(doc) for doc in docs]
        for head in heads:
            if not head.unpublished:
                self._to_trim.setdefault(head.id, head.version)
        await self.publish(
            [Publication(h.id, h.version, h.unpublished) for h in heads if h.unpublished]
        )
        return len(heads)


def published(change: Change) -> Publication:
    """What is to be published after a change was committed."""
    return Publication(change.id, change.version, change.carried + change.entries)


def _jitter(attempt: int) -> float:
    """Seconds to wait; by chance, or callers that collided once would collide again."""
    return random.uniform(0, min(0.1, 0.004 * 2**attempt))  # noqa: S311 - not a secret


def _merge_writes(writes: Iterable[DocumentWrite]) -> dict[str, list[Any]]:
    """One operation per document, its last state; by collection.

    A document that is created and then changed becomes a guarded put: an insert that met the
    older state would lose the newer one.
    """
    whole: dict[tuple[str, str], Insert | Put] = {}
    operations: dict[str, list[Any]] = {}
    patches: list[PatchAll] = []
    for write in writes:
        match write:
            case Insert() | Put():
                key = (write.collection, write.document["_id"])
                before = whole.get(key)
                if before is None:
                    whole[key] = write
                elif write.document["v"] >= before.document["v"]:
                    whole[key] = Put(write.collection, write.document)
            case Patch(collection, target, guard, version, members):
                operations.setdefault(collection, []).append(
                    UpdateOne(
                        {
                            "_id": target,
                            "$or": [{guard: {"$lt": version}}, {guard: {"$exists": False}}],
                        },
                        {"$set": {**members, guard: version}},
                    )
                )
            case PatchAll():
                patches.append(write)
    for write in whole.values():
        document = write.document
        operations.setdefault(write.collection, []).append(
            InsertOne(write.raw)
            if isinstance(write, Insert)
            else ReplaceOne(
                {"_id": document["_id"], "v": {"$lt": document["v"]}}, write.raw, upsert=True
            )
        )
    for patch in patches:
        update: Document = {"$set": {**patch.members, "v": patch.version}}
        if patch.unset:
            update["$unset"] = dict.fromkeys(patch.unset, "")
        operations.setdefault(patch.collection, []).append(
            UpdateMany({**patch.query, "v": {"$lt": patch.version}}, update)
        )
    return operations


__all__ = [
    "Change",
    "ContentionError",
    "Entry",
    "Head",
    "HeadLog",
    "HeadLogOptions",
    "Insert",
    "LogRecord",
    "Patch",
    "PatchAll",
    "Publication",
    "Put",
    "Step",
    "published",
]
