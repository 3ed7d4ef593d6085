"""Takes batches of whatsapp.inbound.v1 into conversations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from datetime import UTC, datetime

import orjson

from services.inbox.decisions.fold import Fate
from services.inbox.decisions.identity import nobody
from services.inbox.decisions.parsing import Parsed, Recorded, Relink, parse
from services.inbox.model.conversation import ContactSnapshot
from services.inbox.model.items import Called, Fact, Incoming, Person
from services.inbox.model.tally import Outcome
from services.inbox.storage.entries import MESSAGES
from services.inbox.storage.messages import ChangeStore, MessageStore, PendingFact, PendingFacts
from services.inbox.workflows.contacts import ContactResolver, Resolved, Want
from services.inbox.workflows.writer import Applied, ConversationWriter, Work
from shared.contracts.envelope import Envelope, parse_timestamp, read_envelope
from shared.contracts.errors import PermanentError
from shared.contracts.records import InRecord
from shared.faults import FaultPoints, NoFaults
from shared.ids import IdHasher
from shared.mongo.headlog import HeadLog, Insert, Publication, Put
from shared.value import value

Note = Callable[[InRecord, str, Outcome, str | None], None]
"""Told what became of a record: its tenant, and the message's id where it is one."""

_OUTCOMES = {
    Fate.STORED: Outcome.MESSAGE,
    Fate.REPEATED: Outcome.MESSAGE,
    Fate.DUPLICATE: Outcome.DUPLICATE,
    Fate.BLOCKED: Outcome.BLOCKED,
}

_joining: ContextVar[frozenset[str]] = ContextVar("joining", default=frozenset())
"""The facts that the calls above are applying."""


@value
class Source:
    """A parsed item and the record that it came in, to keep it as it came."""

    parsed: Parsed
    envelope: Envelope
    record: InRecord
    received_at: datetime

    @property
    def tenant(self) -> str:
        return self.parsed.tenant


class Intake:
    """One per process. `handle` is the batch handler, `settle` joins facts to new messages."""

    def __init__(
        self,
        *,
        conversations: HeadLog,
        contacts: HeadLog,
        resolver: ContactResolver,
        writer: ConversationWriter,
        messages: MessageStore,
        pending: PendingFacts,
        changes: ChangeStore,
        ids: IdHasher,
        count: Callable[[Counter[str]], None],
        follow: Callable[[Sequence[Recorded]], Awaitable[None]],
        readdress: Callable[[str, Sequence[str]], Awaitable[None]],
        note: Note,
        erased: Callable[[Collection[str]], Awaitable[set[str]]],
        faults: FaultPoints | None = None,
    ) -> None:
        self._conversations = conversations
        self._contacts = contacts
        self._resolver = resolver
        self._writer = writer
        self._messages = messages
        self._pending = pending
        self._changes = changes
        self._ids = ids
        self._count = count
        self._follow = follow
        self._readdress = readdress
        self._note = note
        self._erased = erased
        self._faults = faults or NoFaults()

    async def handle(self, records: Sequence[InRecord]) -> None:
        """Applies a batch and publishes what it changed; then the offsets may be committed.

        Raises PermanentError for a record that can never be read, TransientError when the batch
        is to come again.
        """
        read = await self._of_tenants([(record, self._read(record)) for record in records])
        changes = [found for _, found in read if isinstance(found, Recorded)]
        await self._record(changes)
        await self._open_windows(changes)
        for record, found in read:
            if isinstance(found, Recorded):
                self._note(record, found.tenant, Outcome.CHANGE, None)
        await self._take([found for _, found in read if isinstance(found, Source)])

    def _read(self, record: InRecord) -> Source | Recorded:
        envelope = read_envelope(record.headers)
        try:
            value = orjson.loads(record.value or b"")
            received_at = parse_timestamp(value["received_at"])
        except (ValueError, KeyError, TypeError, AttributeError) as bad:
            raise PermanentError("bad_inbound_record") from bad
        parsed = parse(
            envelope.type,
            envelope.tenant,
            envelope.id,
            value,
            received_at,
            self._ids,
            f"{record.partition}/{record.offset}",
        )
        if isinstance(parsed, Recorded):
            return parsed
        return Source(parsed, envelope, record, received_at)

    async def _of_tenants(
        self, read: Sequence[tuple[InRecord, Source | Recorded]]
    ) -> list[tuple[InRecord, Source | Recorded]]:
        """What erased tenants are still sent leaves nothing behind."""
        gone = await self._erased({found.tenant for _, found in read})
        for record, found in read:
            if found.tenant in gone:
                self._note(record, found.tenant, Outcome.BLOCKED, None)
                self._count(Counter(erased=1))
        return [(record, found) for record, found in read if found.tenant not in gone]

    async def _record(self, recorded: Sequence[Recorded]) -> None:
        """Keeps account-level and other changes as they came; acts on those that tell of people."""
        await self._changes.add(
            [
                {
                    "_id": change.id,
                    "tenant": change.tenant,
                    "number": change.number_id,
                    "field": change.field,
                    "raw": change.raw,
                    "received_at": change.received_at,
                }
                for change in recorded
            ]
        )
        for change in recorded:
            if change.relink is not None:
                await self._relink(change.tenant, change.relink)
            if change.group is not None:
                await self._resolver.name_group(change.tenant, change.group)
        await self._follow(recorded)
        if recorded:
            self._count(Counter(recorded=len(recorded)))

    async def _relink(self, tenant: str, relink: Relink) -> None:
        await self._readdress(tenant, await self._resolver.relink(tenant, relink))

    async def _open_windows(self, recorded: Sequence[Recorded]) -> None:
        """A call opens the window of the chat that is there; it makes none."""
        works: dict[str, Work] = {}
        for change in recorded:
            call, number = change.call, change.number_id
            if call is None or number is None:
                continue
            contact = await self._resolver.known(change.tenant, call.person)
            if contact is None:
                continue
            party = f"contact:{contact}"
            home = self._ids.conversation(change.tenant, number, party, 1)
            work = works.setdefault(home, Work(home, change.tenant, number, party))
            work.items.append(Called(call.at))
        if works:
            applied = await self._writer.apply(list(works.values()))
            await self._conversations.publish(applied.publications)

    async def _take(self, sources: Sequence[Source]) -> None:
        for source in sources:
            if source.parsed.relink is not None:
                # First: what the new identity wrote may be in this very batch.
                await self._relink(source.parsed.tenant, source.parsed.relink)
        await self._resolver.acquaint(
            [
                Want(source.parsed.tenant, source.parsed.person, source.received_at)
                for source in sources
                if isinstance(source.parsed.item, Fact) and source.parsed.person.shown_twice
            ]
        )
        people = await self._resolve(sources)
        works: dict[str, Work] = {}
        homes: dict[str, str] = {}
        facts: list[Source] = []
        for source, contact in zip(sources, people.contacts, strict=True):
            item = source.parsed.item
            if isinstance(item, Incoming):
                work = self._work(works, source, contact)
                work.items.append(item)
                homes[item.id] = work.conversation_id
            elif isinstance(item, Fact):
                # In order behind its message, when both came in one batch.
                home = next((homes[ref] for ref in item.refs if ref in homes), None)
                if home is None:
                    facts.append(source)
                else:
                    works[home].items.append(item)
        await self._place_facts(facts, works)
        applied = await self._writer.apply(list(works.values()))
        await self._publish(people.publications, applied.publications)
        self._count(Counter(fate.value for _, fate in applied.fates))
        self._account(sources, applied)

    def _account(self, sources: Sequence[Source], applied: Applied) -> None:
        fates = {item.source: fate for item, fate in applied.fates if isinstance(item, Incoming)}
        for source in sources:
            item, tenant = source.parsed.item, source.parsed.tenant
            if not isinstance(item, Incoming):
                self._note(source.record, tenant, Outcome.FACT, None)
            elif item.source in fates:
                self._note(source.record, tenant, _OUTCOMES[fates[item.source]], item.id)

    async def _resolve(self, sources: Sequence[Source]) -> Resolved:
        """The contact whose conversation each item belongs to (facts need none)."""
        wants = []
        places = []
        for position, source in enumerate(sources):
            parsed = source.parsed
            item = parsed.item
            if isinstance(item, Incoming):
                places.append(position)
                wants.append(Want(parsed.tenant, _somebody(parsed), item.sent_at, parsed.group_id))
        found = await self._resolver.resolve(wants)
        contacts: list[ContactSnapshot | None] = [None] * len(sources)
        for place, contact in zip(places, found.contacts, strict=True):
            contacts[place] = contact
        return Resolved(contacts, found.publications)

    def _work(
        self, works: dict[str, Work], source: Source, contact: ContactSnapshot | None
    ) -> Work:
        parsed = source.parsed
        if contact is None:
            raise PermanentError("no_contact")
        kind = "group" if parsed.group_id else "contact"
        party = f"{kind}:{parsed.group_id or contact.id}"
        conversation = self._ids.conversation(parsed.tenant, parsed.number_id, party, 1)
        work = works.get(conversation)
        if work is None:
            work = works[conversation] = Work(
                conversation_id=conversation,
                tenant=parsed.tenant,
                number_id=parsed.number_id,
                party=party,
                contact=contact,
                group_id=parsed.group_id,
            )
        return work

    async def _place_facts(self, sources: Sequence[Source], works: dict[str, Work]) -> None:
        """Adds facts to their conversations; keeps those whose message is not here.

        The fact's side puts first and looks second; the message's side looks after its document
        is written (`settle`). Either sees the other.
        """
        if not sources:
            return
        homes = await self._homes(sources)
        homeless = [s for s in sources if _home(s, homes) is None]
        if homeless:
            async with self._conversations.causal_reads():
                await self._pending.put([_pending(s) for s in homeless])
                await self._faults.reach("pending_put")
                homes |= await self._homes(homeless)
        placed: list[str] = []
        for source in sources:
            home = _home(source, homes)
            item = source.parsed.item
            if home is None or item is None:
                self._count(Counter(waiting=1))
                continue
            works.setdefault(home, Work(home, source.parsed.tenant)).items.append(item)
            if source in homeless and isinstance(item, Fact):
                placed.append(item.key)
        await self._pending.remove(placed)

    async def _homes(self, sources: Sequence[Source]) -> dict[tuple[str, str], str]:
        refs = {r for s in sources if isinstance(s.parsed.item, Fact) for r in s.parsed.item.refs}
        return await self._messages.conversations_of(sorted(refs))

    async def _publish(
        self, contacts: Sequence[Publication], conversations: Sequence[Publication]
    ) -> None:
        await self._contacts.publish(contacts)
        await self._conversations.publish(conversations)

    async def settle(self, publications: Sequence[Publication]) -> None:
        """Applies the facts that waited for messages whose documents are written now.

        Runs inside a publication, before it is remembered: after a crash the sweeper repeats
        it with the outbox entry.
        """
        refs = [
            ref
            for publication in publications
            for entry in publication.entries
            for write in entry.documents
            if isinstance(write, Insert | Put) and write.collection == MESSAGES
            for ref in (write.document["_id"], write.document.get("wk"))
            if ref is not None
        ]
        found = [
            fact
            for fact in await self._pending.waiting_for(sorted(set(refs)))
            if fact.key not in _joining.get()
        ]
        if not found:
            return
        # Only the publications of this very join skip the facts. Another one of this process does
        # not rely on it: once that one is remembered, nobody would repeat a join that failed.
        token = _joining.set(_joining.get() | {fact.key for fact in found})
        try:
            await self._join(found)
        finally:
            _joining.reset(token)

    async def _join(self, facts: Sequence[PendingFact]) -> None:
        homes = await self._messages.conversations_of(sorted({r for f in facts for r in f.refs}))
        works: dict[str, Work] = {}
        for fact in facts:
            value = orjson.loads(fact.value)
            parsed = parse(fact.kind, fact.tenant, fact.ce_id, value, fact.received_at, self._ids)
            home = _place(fact.tenant, fact.refs, homes)
            if isinstance(parsed, Parsed) and isinstance(parsed.item, Fact) and home is not None:
                works.setdefault(home, Work(home, fact.tenant)).items.append(parsed.item)
        await self._faults.reach("joining")
        applied = await self._writer.apply(list(works.values()))
        await self._conversations.publish(applied.publications)
        await self._pending.remove([fact.key for fact in facts])
        self._count(Counter(joined=len(facts)))


def _somebody(parsed: Parsed) -> Person:
    """The person of an item, by what they are known as from it on.

    One that names nobody gets a contact of its own number's unknown.
    """
    person = parsed.person
    if parsed.relink is not None:
        now = parsed.relink.current
        person = replace(
            person, user_id=now.user_id or person.user_id, wa_id=now.wa_id or person.wa_id
        )
    return person if person.known else nobody(parsed.number_id)


def _home(source: Source, homes: Mapping[tuple[str, str], str]) -> str | None:
    item = source.parsed.item
    return _place(source.parsed.tenant, item.refs, homes) if isinstance(item, Fact) else None


def _place(tenant: str, refs: Sequence[str], homes: Mapping[tuple[str, str], str]) -> str | None:
    return next((homes[tenant, ref] for ref in refs if (tenant, ref) in homes), None)


def _pending(source: Source) -> PendingFact:
    item = source.parsed.item
    if not isinstance(item, Fact):
        raise TypeError("only facts wait")
    return PendingFact(
        key=item.key,
        refs=item.refs,
        tenant=source.parsed.tenant,
        kind=source.envelope.type,
        ce_id=source.envelope.id,
        value=source.record.value or b"",
        received_at=source.received_at.astimezone(UTC),
    )


__all__ = ["Fate", "Intake"]
