"""The log itself: load, commit, publish, trim, sweep. Its rules are in the package's docstring."""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar
from weakref import WeakValueDictionary

from pymongo.errors import BulkWriteError

from shared.contracts.errors import TransientError
from shared.contracts.records import OutRecord
from shared.faults import FaultPoints, NoFaults
from shared.mongo.client import (
    DUPLICATE_KEY,
    CausalReads,
    Collection,
    Database,
    Document,
    causal_session,
    transient_errors,
    unacknowledged_by_majority,
)
from shared.mongo.headlog.entries import Change, Entry, Head, Publication, Step, published
from shared.mongo.headlog.operations import certain, compare_and_set, merged_writes, trims

_REMEMBERED = 200_000
ROUNDS = 10
_MANY = 100
"""Compare-and-sets that MongoDB is given in two bulks: one bulk is the work of one core."""
_TURN_SECONDS = 3.0
T = TypeVar("T")


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
    settled: str = ""
    """The collection whose written documents `settle` reads behind, in one session."""
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
        self._reads = CausalReads(database)
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
        return self._reads.session()

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
        """Writes the compare-and-sets in bulk; returns the ids that surely won.

        Any other id lost or is not certain: load and decide again. Raises TransientError when
        the outcome of some is not known; others may have won.
        """
        if not changes:
            return frozenset()
        now = self._clock()
        if len(changes) < _MANY:
            won = await self._commit(changes, now)
        else:
            won = await self._commit_beside(changes, now)
        self.options.committed(len(won), len(changes) - len(won))
        await self._faults.reach("committed")
        return won

    async def _commit_beside(self, changes: Sequence[Change], now: datetime) -> frozenset[str]:
        halves = (self._commit(changes[place::2], now) for place in range(2))
        # To the end of both, also when one fails: nothing is written behind the caller's back.
        outcomes = await asyncio.gather(*halves, return_exceptions=True)
        won: frozenset[str] = frozenset()
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
            won |= outcome
        return won

    async def _commit(self, changes: Sequence[Change], now: datetime) -> frozenset[str]:
        operations = [self._operation(change, now) for change in changes]
        try:
            with transient_errors():
                result = await self._collection.bulk_write(operations, ordered=False)
        except BulkWriteError as error:
            return certain(changes, error.details)
        return certain(changes, result.bulk_api_result)

    def _operation(self, change: Change, now: datetime) -> Any:
        return compare_and_set(change, now)

    # -- 4, 5 publish

    async def publish(self, publications: Sequence[Publication]) -> None:
        """Documents and events in parallel, then commands; remembers what is wholly done.

        Raises TransientError when any publication is not done; the others are remembered.
        """
        todo = [p for p in publications if p.entries]
        if not todo:
            return
        async with self._settling():
            await self._publish(todo)

    def _settling(self) -> AbstractAsyncContextManager[None]:
        return self.causal_reads() if self.options.settled else nullcontext()

    async def _publish(self, todo: Sequence[Publication]) -> None:
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
        per_collection = merged_writes(
            write for p in publications for entry in p.entries for write in entry.documents
        )
        await asyncio.gather(
            *(self._write(name, operations) for name, operations in per_collection.items())
        )
        await self._faults.reach("written")

    async def _write(self, collection: str, operations: list[Any]) -> None:
        # A session is for one operation at a time; the other collections are written beside it.
        session = causal_session() if collection == self.options.settled else None
        with transient_errors():
            try:
                await self._database[collection].bulk_write(
                    operations, ordered=False, session=session
                )
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
        The publication goes on behind the answer. A commit of unknown outcome is looked at and
        repeated once; then it raises TransientError, and ContentionError after ten rounds.
        """
        doubtful = False
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
                try:
                    won = await self.commit([step.change])
                except TransientError:
                    if doubtful:
                        raise
                    doubtful = True
                    continue
                if won:
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
                await self._trims.bulk_write(trims(batch), ordered=False)
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
                self._collection.find({"outbox_at": {"$type": "date", "$lt": limit}})
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


def _jitter(attempt: int) -> float:
    """Seconds to wait; by chance, or callers that collided once would collide again."""
    return random.uniform(0, min(0.1, 0.004 * 2**attempt))  # noqa: S311 - not a secret
