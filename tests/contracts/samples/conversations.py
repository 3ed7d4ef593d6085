"""The life of one conversation: folded, decided and rendered by inbox's own code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from services.inbox.decisions.draft import Draft, blank
from services.inbox.decisions.fold import MessageIndex, Surroundings, fold
from services.inbox.decisions.lifecycle import Move, Trigger, Viewer
from services.inbox.decisions.parsing import Parsed, parse
from services.inbox.decisions.sending import compose, queue
from services.inbox.decisions.views import iso
from services.inbox.model.contact import Contact
from services.inbox.model.conversation import Conversation, Message, Stamp
from services.inbox.model.events import ROUTING, SYSTEM, ActorRef, Emitted
from services.inbox.model.items import (
    Assignment,
    EditFact,
    Fact,
    Incoming,
    Item,
    MediaFact,
    ReactionFact,
    RevokeFact,
    StatusFact,
)
from services.inbox.model.outgoing import OutgoingRequest
from services.inbox.storage.contacts import contact_change
from services.inbox.storage.directory_view import DirectoryView
from services.inbox.storage.entries import render
from services.inbox.storage.names import DirectoryNames
from services.inbox.workflows.actions import ticks
from services.inbox.workflows.labelling import _take_block
from shared.contracts.directory import AgentEntry, EntityKind, LabelEntry, NumberEntry, TeamEntry
from shared.contracts.events import EventType as E
from shared.contracts.events import RoutingDecision
from shared.contracts.inbound import InboundType
from shared.contracts.records import OutRecord
from shared.contracts.views import ActorKind, Role
from shared.ids import IdHasher
from tests.contracts.samples.ingest import sorted_records

TENANT = "tenant-1"
NOW = datetime(2026, 5, 28, 20, 26, 41, 250_000, tzinfo=UTC)
IDS = IdHasher("sample")
ANA = ActorRef(ActorKind.AGENT, "agent-1")
VIEWER = Viewer("agent-1", TENANT, Role.AGENT, frozenset({"team-1"}))
CONTACT = Contact(
    id="contact-1",
    tenant=TENANT,
    version=1,
    created_at=NOW,
    name="Ana Example",
    wa_id="12025550111",
    user_id="US.90000000000000000001",
    labels=("label-1",),
)


def names() -> DirectoryNames:
    view = DirectoryView()
    entries = {
        (EntityKind.NUMBER, TENANT, "number-1"): NumberEntry(
            id="number-1",
            tenant=TENANT,
            version=1,
            phone_number_id="200000000000001",
            display_phone_number="+1 202-555-0100",
        ),
        (EntityKind.AGENT, TENANT, "agent-1"): AgentEntry(
            id="agent-1", tenant=TENANT, version=1, name="Ana Agent", role=Role.AGENT
        ),
        (EntityKind.TEAM, TENANT, "team-1"): TeamEntry(
            id="team-1", tenant=TENANT, version=1, name="Sales"
        ),
        (EntityKind.LABEL, TENANT, "label-1"): LabelEntry(
            id="label-1", tenant=TENANT, version=1, name="VIP", color="#ffcc00"
        ),
    }
    for place, entry in entries.items():
        view.put(place, 1, entry)
    return DirectoryNames(view)


def received(payload: str) -> Item:
    """The item of a webhook, through ingest's record and inbox's parser."""
    (record,) = sorted_records(payload)
    value = orjson.loads(record.value or b"")
    found = parse(InboundType.MESSAGE, TENANT, "inbound-1", value, NOW, IDS)
    assert isinstance(found, Parsed)
    assert found.item is not None
    return found.item


class Story:
    """One conversation, step by step; `events` is all that happened."""

    def __init__(self) -> None:
        contact = CONTACT.snapshot()
        self.around = Surroundings(
            NOW, contact, number_team="team-1", free_slots={"agent-1": 5, "agent-2": 5}
        )
        self.now = NOW
        self.conversation: Conversation = blank(
            "conversation-1",
            tenant=TENANT,
            number_id="number-1",
            contact=contact,
            group_id=None,
            generation=1,
            now=NOW,
        )
        self.index = MessageIndex()
        self.events: list[Emitted] = []

    def fold(self, *items: Item) -> None:
        folded = fold(self.conversation, list(items), self.index, self.around)
        self._keep(folded.conversation, folded.events)

    def draft(self) -> Draft:
        self.now += timedelta(seconds=1)
        return Draft(self.conversation, self.now)

    def keep(self, draft: Draft) -> None:
        self._keep(draft.conversation, draft.events)

    def _keep(self, conversation: Conversation, events: list[Emitted]) -> None:
        self.conversation = conversation
        self.events += events
        for event in events:
            if event.message is not None:
                self.index.put(event.message)

    def move(self, trigger: Trigger, actor: ActorRef = ANA, **members: str) -> None:
        draft = self.draft()
        assert draft.move(Move(trigger, self.now, **members), actor=actor)
        self.keep(draft)

    def emit(self, type_: E, actor: ActorRef = ANA, **changes: Any) -> None:
        draft = self.draft()
        commands = ticks(self.conversation) if type_ is E.CONVERSATION_READ else ()
        draft.emit(type_, replace(draft.conversation, **changes), actor=actor, commands=commands)
        self.keep(draft)

    def send(self, text: str) -> Message:
        draft = self.draft()
        message = compose(
            OutgoingRequest("client-1", "text", text=text),
            self.conversation,
            VIEWER,
            message_id="message-2",
            media=None,
            now=self.now,
        )
        queued = queue(draft, message, None)
        self.keep(draft)
        return queued


def decision(story: Story) -> Assignment:
    now = story.conversation
    return Assignment(
        RoutingDecision(
            kind="assign",
            conversation_id=now.id,
            episode=now.episode,
            epoch=now.epoch,
            agent_id="agent-1",
            reason="least_busy",
            explanation={"strategy": "least_busy", "rule": "least_busy", "candidates": []},
            decided_at=NOW,
        )
    )


def tell() -> list[Emitted]:
    """Everything that can happen to a conversation, at least once."""
    story = Story()
    image = received("msg_image")
    assert isinstance(image, Incoming)
    story.fold(image)
    story.fold(decision(story))
    stamp = Stamp(NOW, "wamid.later")
    for about in (
        MediaFact("media-1", NOW, "image/jpeg", 1024, "ab" * 32, 640, 480),
        ReactionFact("contact", "reactor-1", "👍", stamp),
        EditFact(image.body, stamp),
        RevokeFact(stamp),
    ):
        story.fold(Fact(f"fact-{type(about).__name__}", (image.id,), about))
    story.emit(E.CONVERSATION_READ, unread=0)
    story.emit(E.CONVERSATION_UNREAD, unread=1)
    sent = story.send("Hello")
    story.fold(Fact("status-1", (sent.id,), StatusFact("delivered", NOW)))
    story.emit(E.CONVERSATION_LABELLED, labels=("label-1",))
    story.emit(E.CONVERSATION_WINDOW_CLOSING, SYSTEM)
    story.move(Trigger.TRANSFER_AGENT, agent="agent-2")
    story.move(Trigger.TRANSFER_TEAM, team="team-1")
    story.move(Trigger.ROUTED, ROUTING, agent="agent-1")
    story.move(Trigger.HOLD)
    story.move(Trigger.BOT)
    story.move(Trigger.HANDOFF, ActorRef(ActorKind.BOT))
    story.move(Trigger.CLOSE)
    story.move(Trigger.REOPEN, agent="agent-1")
    draft = story.draft()
    _take_block(draft, replace(CONTACT, blocked=True), ANA)
    draft.move(Move(Trigger.BLOCK, draft.now), actor=ANA, reason="blocked")
    story.keep(draft)
    story.move(Trigger.DELETE)
    return story.events


def _rendered(events: list[Emitted]) -> Iterator[OutRecord]:
    view = names()
    for event in events:
        entry = render(event, view)
        for record in (*entry.events, *entry.commands):
            yield record.out()


def conversation_records() -> list[OutRecord]:
    return list(_rendered(tell()))


def contact_records() -> list[OutRecord]:
    actor = {"kind": "agent", "id": "agent-1", "name": "Ana Agent"}
    labels = [{"id": "label-1", "name": "VIP", "color": "#ffcc00"}]
    found = []
    for type_ in (E.CONTACT_UPDATED, E.CONTACT_BLOCKED, E.CONTACT_UNBLOCKED):
        contact = replace(CONTACT, blocked=type_ is E.CONTACT_BLOCKED)
        change = contact_change(contact, labels=labels, at=iso(NOW), actor=actor, type_=type_)
        found += [record.out() for entry in change.entries for record in entry.events]
    return found
