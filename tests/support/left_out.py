"""The write path, each time with one rule left out: the traces must notice every one of them."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from typing import Any

from pymongo import ReplaceOne
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern
from typing_extensions import override

from services.inbox.app.conversations import Conversations
from services.inbox.decisions.fold import MessageIndex
from services.inbox.storage.messages import overlay
from services.inbox.workflows.intake import Intake, Source, _home, _pending
from services.inbox.workflows.writer import Applied, ConversationWriter, Work
from shared.mongo.client import Database
from shared.mongo.headlog import Change, Head, HeadLog, Publication
from tests.support.scripted_publisher import ScriptedPublisher

# -- 2: after the load, look up message ids


class _LookUpFirst(ConversationWriter):
    _early = MessageIndex()

    @override
    async def _load(self, waiting: dict[str, Work]) -> dict[str, Head]:
        self._early = await super()._look_up(waiting.values(), {})
        await self._faults.reach("loaded")  # between the two reads
        return await super()._load(waiting)

    @override
    async def _look_up(self, works: Iterable[Work], heads: Mapping[str, Head]) -> MessageIndex:
        for head in heads.values():
            overlay(self._early, head.unpublished)
        return self._early


class LookUpBeforeLoad(Conversations):
    writer_type = _LookUpFirst


class _OutboxUnread(ConversationWriter):
    @override
    async def _look_up(self, works: Iterable[Work], heads: Mapping[str, Head]) -> MessageIndex:
        return await super()._look_up(works, {})


class OutboxNotOverlaid(Conversations):
    writer_type = _OutboxUnread


# -- 3: the new outbox is what was unpublished and the new entries


class _OwnEntriesOnly(HeadLog):
    @override
    def _operation(self, change: Change, *rest: Any) -> Any:
        return super()._operation(replace(change, carried=()), *rest)


class CarriedInMemoryOnly(Conversations):
    log_type = _OwnEntriesOnly


class _OwnEventsOnly(HeadLog):
    """Leaves the events before its own to whoever committed them."""

    @override
    async def commit(self, changes: Sequence[Change]) -> frozenset[str]:
        self._firsts = {change.id: change.entries[0].version for change in changes}
        return await super().commit(changes)

    @override
    async def publish(self, publications: Sequence[Publication]) -> None:
        await super().publish(
            [
                replace(p, entries=tuple(e for e in p.entries if e.version >= self._firsts[p.id]))
                for p in publications
            ]
        )


class PublishesOwnOnly(Conversations):
    log_type = _OwnEventsOnly


# -- 4: guarded documents, events up to the first error


class _Blind(HeadLog):
    @override
    async def _write(self, collection: str, operations: list[Any]) -> None:
        await super()._write(
            collection,
            [
                ReplaceOne({"_id": op._filter["_id"]}, op._doc, upsert=True)
                if isinstance(op, ReplaceOne)
                else op
                for op in operations
            ],
        )


class BlindDocuments(Conversations):
    log_type = _Blind


class LaterRecordsLand(Conversations):
    def __init__(self, settings: Any, database: Any, publisher: Any, **rest: Any) -> None:
        assert isinstance(publisher, ScriptedPublisher)
        publisher.falls_apart = True
        super().__init__(settings, database, publisher, **rest)


# -- 5: remembered when both are done


class _RemembersOnSend(HeadLog):
    @override
    async def publish(self, publications: Sequence[Publication]) -> None:
        for publication in publications:
            self._remember(publication.id, publication.version)
        await super().publish(publications)


class RemembersOnSend(Conversations):
    log_type = _RemembersOnSend


class _RemembersOnProduce(HeadLog):
    @override
    async def publish(self, publications: Sequence[Publication]) -> None:
        runs = [[r.out() for entry in p.entries for r in entry.events] for p in publications]
        for publication, sent in zip(publications, await self._send(runs), strict=True):
            if sent:
                self._remember(publication.id, publication.version)
        await self._write_documents(publications)


class RemembersOnProduce(Conversations):
    log_type = _RemembersOnProduce


# -- 6: trims take away what was published and nothing else


class _SetsEmpty(HeadLog):
    @override
    async def trim(self) -> None:
        batch, self._to_trim = self._to_trim, {}
        await self._collection.update_many(
            {"_id": {"$in": list(batch)}}, {"$set": {"outbox": []}, "$unset": {"outbox_at": ""}}
        )


class TrimsEverything(Conversations):
    log_type = _SetsEmpty


# -- 7: a lost compare-and-set goes back to the load, with a new look-up


class _RefoldOnly(ConversationWriter):
    _found: tuple[Any, ...] | None = None

    @override
    async def apply(self, works: Sequence[Work]) -> Applied:
        self._found = None
        return await super().apply(works)

    @override
    async def _look_up(self, works: Iterable[Work], heads: Mapping[str, Head]) -> MessageIndex:
        if self._found is None:
            self._found = tuple((await super()._look_up(works, {}))._by_id.values())
        index = MessageIndex(self._found)
        for head in heads.values():
            overlay(index, head.unpublished)
        return index


class RefoldWithoutLookUp(Conversations):
    writer_type = _RefoldOnly


# -- majority reads and writes


def local(database: Database) -> Database:
    """The database as its primary has it, whatever the majority has."""
    return database.with_options(read_concern=ReadConcern("local"))


class LocalReads(Conversations):
    def __init__(self, settings: Any, database: Any, publisher: Any, **rest: Any) -> None:
        super().__init__(settings, local(database), publisher, **rest)


class _CommitsOnOneNode(HeadLog):
    def __init__(self, *args: Any, **rest: Any) -> None:
        super().__init__(*args, **rest)
        self._collection = self._trims


class CommitsOnOneNode(Conversations):
    log_type = _CommitsOnOneNode


class _DocumentsOnOneNode(HeadLog):
    def __init__(self, database: Any, *args: Any, **rest: Any) -> None:
        super().__init__(database, *args, **rest)
        self._database = database.with_options(write_concern=WriteConcern(w=1))


class DocumentsOnOneNode(Conversations):
    log_type = _DocumentsOnOneNode


class _ReadsApart(HeadLog):
    @override
    def causal_reads(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()


class ReadsApart(Conversations):
    log_type = _ReadsApart


# -- facts: put first and look second; look after the document, inside the outbox entry


class _LooksThenPuts(Intake):
    @override
    async def _place_facts(self, sources: Sequence[Source], works: dict[str, Work]) -> None:
        homes = await self._homes(sources)
        await self._faults.reach("pending_put")  # between the two steps
        await self._pending.put([_pending(s) for s in sources if _home(s, homes) is None])


class LooksThenPuts(Conversations):
    intake_type = _LooksThenPuts


async def _settles_nothing(_: Sequence[Publication]) -> None:
    await asyncio.sleep(0)


class _SettlesApart(HeadLog):
    def __init__(self, *args: Any, **rest: Any) -> None:
        super().__init__(*args, **rest)
        self._settle, self.options.settle = self.options.settle, _settles_nothing


class _SettlesFirst(_SettlesApart):
    @override
    async def publish(self, publications: Sequence[Publication]) -> None:
        await self._settle(publications)
        await super().publish(publications)


class LooksBeforeItsDocument(Conversations):
    log_type = _SettlesFirst


class _SettlesLast(_SettlesApart):
    @override
    async def publish(self, publications: Sequence[Publication]) -> None:
        await super().publish(publications)
        await self._settle(publications)


class LooksAfterItIsRemembered(Conversations):
    log_type = _SettlesLast
