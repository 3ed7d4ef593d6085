"""Pods of inbox in this process: the real `Conversations`, each with fault points of its own."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from services.inbox.app.conversations import Conversations
from services.inbox.decisions.draft import Draft
from services.inbox.decisions.parsing import Parsed, parse
from services.inbox.model.events import ActorRef
from services.inbox.storage.directory_view import DirectoryView
from services.inbox.workflows.changing import Changing, conversation_at
from services.inbox.workflows.contacts import Want
from shared.contracts.directory import EntityKind, NumberEntry
from shared.contracts.envelope import Envelope, read_envelope, timestamp
from shared.contracts.errors import TransientError
from shared.contracts.events import EventType
from shared.contracts.inbound import InboundType
from shared.contracts.records import InRecord
from shared.contracts.views import ActorKind
from shared.ids import IdHasher
from shared.kafka.publisher import Publisher
from shared.kafka.settings import KafkaSettings
from shared.mongo.client import Database
from shared.mongo.headlog import Head, Step
from shared.observability.metrics import Metrics
from tests.support.event_topic import EventTopic
from tests.support.schedule import DEADLINE_SECONDS, Script
from tests.support.scripted_publisher import ScriptedPublisher

NUMBER = "number"
_EXPECTED = (asyncio.CancelledError, TransientError)
ANA = ActorRef(ActorKind.AGENT, "ana")


@dataclass(eq=False)
class Batch:
    """Records of one poll; `applied` when the handler returned and the offsets may be committed."""

    records: Sequence[InRecord]
    applied: bool = False


@dataclass
class World:
    """One tenant, its customers, what was given to inbox and what inbox answered."""

    settings: KafkaSettings
    database: Database
    publisher: Publisher
    topic: EventTopic
    rules: type[Conversations] = Conversations
    tenant: str = field(default_factory=lambda: f"t{uuid.uuid4().hex}")
    ids: IdHasher = field(default_factory=lambda: IdHasher("consistency"))
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    pods: list[Pod] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    messages: dict[str, str] = field(default_factory=dict)
    """Conversation of every message that came, by the message's id."""
    statuses: set[tuple[str, str]] = field(default_factory=set)
    answered: set[tuple[str, str]] = field(default_factory=set)
    """(conversation, label) of every call that was answered with success."""
    _offset: int = 0
    _conversations: dict[int, str] = field(default_factory=dict)

    def pod(
        self, rules: type[Conversations] | None = None, database: Database | None = None
    ) -> Pod:
        """A new process, by default with the rules and the database client of this world."""
        made = Pod(self, rules or self.rules, self.database if database is None else database)
        self.pods.append(made)
        return made

    async def prepare(self, customers: int = 1) -> None:
        """Creates the contacts, so that the fault points are passed by conversations alone.

        There are no indexes: they cost more than any schedule, and none of them is a rule.
        """
        pod = self.pod(Conversations)
        for who in range(1, customers + 1):
            record = self._record(InboundType.MESSAGE, self._text("", who), who)
            envelope = read_envelope(record.headers)
            value = orjson.loads(record.value or b"")
            parsed = parse(envelope.type, self.tenant, envelope.id, value, self.now, self.ids)
            assert isinstance(parsed, Parsed)
            found = await pod.inbox.resolver.resolve([Want(self.tenant, parsed.person, self.now)])
            await pod.inbox.contacts.publish(found.publications)
            await pod.inbox.contacts.trim()
            contact = found.contacts[0]
            assert contact is not None
            self._conversations[who] = self.ids.conversation(
                self.tenant, NUMBER, f"contact:{contact.id}", 1
            )

    def conversation(self, who: int = 1) -> str:
        return self._conversations[who]

    @property
    def conversations(self) -> list[str]:
        return list(self._conversations.values())

    # -- what comes from WhatsApp

    def message(self, name: str, who: int = 1) -> InRecord:
        """A text of the customer. The same name is the same wamid."""
        self.messages[self.message_id(name)] = self.conversation(who)
        return self._record(InboundType.MESSAGE, self._text(name, who), who)

    def moved(self, name: str, to: int, who: int = 1) -> InRecord:
        """The customer has the phone of customer `to` from now on."""
        told = {"type": "user_changed_number", "body": name, "wa_id": self.phone(to)}
        item = {**self._text(name, who), "type": "system", "system": told}
        return self._record(InboundType.MESSAGE, item, who)

    def call(self, who: int = 1) -> InRecord:
        """The customer calls."""
        item = {
            "id": f"wacid.{who}",
            "from": self.phone(who),
            "direction": "USER_INITIATED",
            "event": "connect",
            "timestamp": self._stamp(),
        }
        return self._record(InboundType.CHANGE, item, who, "calls")

    def echo(self, name: str, who: int = 1) -> InRecord:
        """What the business wrote on its phone: an outgoing message, which statuses are about."""
        self.messages[self.message_id(name)] = self.conversation(who)
        text = self._text(name, who)
        return self._record(InboundType.ECHO, {**text, "to": text["from"], "from": "1"}, who)

    def status(self, name: str, status: str, who: int = 1) -> InRecord:
        self.statuses.add((self.message_id(name), status))
        item = {"id": f"wamid.{name}", "status": status, "timestamp": self._stamp()}
        return self._record(InboundType.STATUS, {**item, "recipient_id": self.phone(who)}, who)

    def reaction(self, name: str, who: int = 1) -> InRecord:
        said = {"message_id": f"wamid.{name}", "emoji": "👍"}
        item = {**self._text(f"{name}.reaction", who), "type": "reaction", "reaction": said}
        return self._record(InboundType.MESSAGE, item, who)

    def by(self, record: InRecord, user: str) -> InRecord:
        """The same record, showing the customer's BSUID beside the phone."""
        value = orjson.loads(record.value or b"")
        name = "recipient_user_id" if "recipient_id" in value["item"] else "from_user_id"
        value["item"][name] = user
        return replace(record, value=orjson.dumps(value))

    def change(self) -> InRecord:
        """What concerns no conversation."""
        return self._record(InboundType.CHANGE, {"decision": "APPROVED"}, 1)

    def message_id(self, name: str) -> str:
        return self.ids.inbound_message(self.tenant, NUMBER, f"wamid.{name}")

    def phone(self, who: int) -> str:
        return f"5215500000{who:03}"

    def _stamp(self) -> str:
        return str(int(self.now.timestamp()))

    def _text(self, name: str, who: int) -> dict[str, Any]:
        return {
            "from": self.phone(who),
            "id": f"wamid.{name}",
            "timestamp": self._stamp(),
            "type": "text",
            "text": {"body": name},
        }

    def _record(
        self, kind: InboundType, item: dict[str, Any], who: int, field: str = "messages"
    ) -> InRecord:
        self._offset += 1
        received = timestamp(self.now)
        value = {
            "field": field,
            "item": item,
            "contacts": [{"wa_id": self.phone(who), "profile": {"name": f"Customer {who}"}}],
            "metadata": {},
            "number_id": NUMBER,
            "phone_number_id": "1",
            "waba_id": "1",
            "received_at": received,
        }
        envelope = Envelope(uuid.uuid4().hex, kind.value, "ingest", received, self.tenant)
        headers = tuple(envelope.headers())
        return InRecord("inbound", 0, self._offset, b"key", orjson.dumps(value), headers, 0)

    async def fence(self) -> None:
        """Until majority reads show everything that was written, at w:1 too."""
        await self.database["fence"].insert_one({})

    # -- the end

    async def finish(self) -> None:
        """Everything that was left undone is done by a pod that keeps every rule."""
        for pod in self.pods:
            await pod.crash()
        last = self.pod(Conversations)
        for batch in self.batches:
            if not batch.applied:
                await last.inbox.intake.handle(batch.records)
                batch.applied = True
        for _ in range(3):
            self.now += timedelta(seconds=10)
            await last.inbox.log.sweep()
            await last.inbox.log.trim()
            await self.fence()
        await last.crash()


class Pod:
    """One process of inbox. A crash loses its memory and what it was doing, no more."""

    def __init__(self, world: World, rules: type[Conversations], database: Database) -> None:
        self._world = world
        self.script = Script()
        self.publisher = ScriptedPublisher(world.settings, world.publisher)
        view = DirectoryView()
        view.put(
            (EntityKind.NUMBER, world.tenant, NUMBER),
            1,
            NumberEntry(id=NUMBER, tenant=world.tenant, version=1, phone_number_id="1"),
        )
        self.inbox = rules(
            world.settings,
            database,
            self.publisher,
            view=view,
            ids=world.ids,
            metrics=Metrics(),
            faults=self.script,
            clock=lambda: world.now,
        )
        self._changing = Changing(
            self.inbox.log, self.inbox.names, world.ids, lambda: world.now, self.inbox.existence
        )
        self._tasks: list[asyncio.Task[Any]] = []

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    def consume(self, *records: InRecord) -> asyncio.Task[None]:
        """Handles a batch, which counts as applied only when the handler returns."""
        batch = Batch(records)
        self._world.batches.append(batch)
        return self.consume_again(batch)

    def consume_again(self, batch: Batch | None = None) -> asyncio.Task[None]:
        """Handles a batch that another pod took too, by default the first one."""
        return self._start(self._handle(batch or self._world.batches[0]))

    def account(self, *records: InRecord) -> asyncio.Task[None]:
        """Handles a batch and counts it; done when its offsets may be committed."""
        return self._start(self._account(records))

    async def _account(self, records: Sequence[InRecord]) -> None:
        await self.inbox.intake.handle(records)
        self.inbox.accounting.settled(records)
        await self.inbox.accounting.keep()

    async def _handle(self, batch: Batch) -> None:
        await self.inbox.intake.handle(batch.records)
        batch.applied = True

    def label(self, name: str, who: int = 1) -> asyncio.Task[None]:
        """A person's call; done when it is answered. It is published behind the answer."""
        return self._start(self._label(self._world.conversation(who), name))

    async def _label(self, conversation_id: str, name: str) -> None:
        async def decide(head: Head | None) -> Step[bool]:
            conversation = conversation_at(head)
            if conversation is None:
                return Step(result=False)
            draft = Draft(conversation, self._world.now)
            if name not in conversation.labels:
                labels = (*conversation.labels, name)
                draft.emit(
                    EventType.CONVERSATION_LABELLED,
                    replace(conversation, labels=labels),
                    actor=ANA,
                )
            return self._changing.step(head, draft, result=True)

        if await self.inbox.log.change(conversation_id, decide):
            self._world.answered.add((conversation_id, name))

    def sweep(self) -> asyncio.Task[None]:
        """A sweep, ten seconds later: everything that is in an outbox is old by then."""
        self._world.now += timedelta(seconds=10)
        return self._start(self._sweep())

    async def _sweep(self) -> None:
        await self.inbox.log.sweep()

    def trim(self) -> asyncio.Task[None]:
        """One round of the lazy trims, until majority reads show it."""
        return self._start(self._trim())

    async def _trim(self) -> None:
        await self.inbox.log.trim()
        await self._world.fence()

    async def published(self) -> None:
        """Waits for what is published behind answers."""
        tasks = set(self.inbox.log._background)
        if tasks:
            await asyncio.wait(tasks, timeout=DEADLINE_SECONDS)

    async def crash(self) -> None:
        """Everything that it was doing stops where it is."""
        tasks = [*self._tasks, *self.inbox.log._background, *self.inbox.contacts._background]
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, _EXPECTED):
                raise outcome
        self._tasks.clear()
