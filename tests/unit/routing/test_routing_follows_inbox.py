"""What routing makes of inbox's events is what it would read from inbox's list at that moment."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inbox.decisions.draft import Draft, blank
from services.inbox.decisions.fold import Fate, MessageIndex, Surroundings, fold
from services.inbox.decisions.lifecycle import Move, Trigger
from services.inbox.decisions.timers import Terms, settle
from services.inbox.decisions.views import active_view, event_view
from services.inbox.model.conversation import ContactSnapshot
from services.inbox.model.events import SYSTEM, ActorRef
from services.inbox.model.items import Assignment, Body, Incoming, Item, Person
from services.inbox.storage.directory_view import DirectoryView
from services.inbox.storage.names import DirectoryNames
from services.routing.gateways import listed
from services.routing.handlers import to_change
from services.routing.model import Change
from shared.contracts.envelope import Envelope
from shared.contracts.events import EventType, RoutingDecision
from shared.contracts.views import ActorKind, Status

START = datetime(2026, 6, 1, 12, tzinfo=UTC)
NAP = timedelta(hours=1)
TERMS = Terms(bot_silence=timedelta(minutes=1), window_warning=timedelta(0))
ANA = ActorRef(ActorKind.AGENT, "ana")
NOBODY = DirectoryNames(DirectoryView())


class Chat:
    """One conversation by inbox's own decisions, and routing's picture of it from its events."""

    def __init__(self) -> None:
        self.now = START
        self.numbers = itertools.count(1)
        self.messages = MessageIndex()
        self.real = blank(
            "c1",
            tenant="acme",
            number_id="n1",
            contact=ContactSnapshot("k1"),
            group_id=None,
            generation=1,
            now=START,
        )
        self.picture: Change | None = None
        self.comes("customer")

    def takes(self, draft: Draft) -> None:
        """Every event leaves routing with the state that inbox's list shows after it."""
        for event in draft.events:
            shown = orjson.dumps(event_view(event, NOBODY))
            version = event.conversation.version
            name = f"c1:{version}"
            envelope = Envelope(name, event.type, "/inbox", "", "acme", "c1", version)
            self.picture = to_change(envelope, shown)
            if event.conversation.status is not Status.CLOSED:
                read = listed(orjson.loads(orjson.dumps(active_view(event.conversation))))
                assert replace(self.picture, previous=None, listed=True) == read
        self.real = draft.conversation

    def folds(self, item: Item) -> Fate:
        around = Surroundings(self.now, ContactSnapshot("k1"), free_slots={"luis": 1})
        folded = fold(self.real, [item], self.messages, around)
        draft = Draft(folded.conversation, self.now)
        draft.events = folded.events
        self.takes(draft)
        return folded.fates[0][1]

    def comes(self, origin: Literal["customer", "phone", "system"]) -> None:
        number = next(self.numbers)
        body = Body("text", "hola", None, {})
        wamid = f"wamid.{number}"
        who = Person()
        self.folds(Incoming(f"i{number}", wamid, self.now, self.now, who, body, b"{}", origin))

    def moves(self, trigger: Trigger, actor: ActorRef = ANA) -> None:
        draft = Draft(self.real, self.now)
        draft.move(Move(trigger, self.now, agent="ana", team="sales"), actor=actor)
        self.takes(draft)

    def sleeps(self, until: datetime | None) -> None:
        """As `Notes.snooze` and `Notes.wake` do it."""
        if self.real.status not in {Status.OPEN, Status.ON_HOLD}:
            return
        draft = Draft(self.real, self.now)
        after = replace(self.real, snoozed_until=until)
        told = {"kind": "woken" if until is None else "snoozed"}
        draft.emit(EventType.CONVERSATION_UPDATED, after, actor=ANA, details=told)
        self.takes(draft)

    def time_goes_by(self) -> None:
        self.now += NAP
        draft = Draft(self.real, self.now)
        settle(draft, TERMS, self.messages)
        self.takes(draft)

    def routed(self) -> None:
        """Inbox takes a decision iff routing's picture is that of a chat to be given away."""
        assert self.picture is not None
        waits = self.picture.status is Status.ON_HOLD and not self.picture.held
        decision = RoutingDecision(
            kind="assign",
            explanation={},
            decided_at=self.now,
            conversation_id="c1",
            agent_id="luis",
            episode=self.real.episode,
            epoch=self.real.epoch,
            reason="least_busy",
        )
        assert self.folds(Assignment(decision)) == (Fate.APPLIED if waits else Fate.REFUSED)


ACTIONS: Mapping[str, Callable[[Chat], None]] = {
    "customer": lambda chat: chat.comes("customer"),
    "echo": lambda chat: chat.comes("phone"),
    "system": lambda chat: chat.comes("system"),
    "snooze": lambda chat: chat.sleeps(chat.now + NAP),
    "wake": lambda chat: chat.sleeps(None),
    "time": Chat.time_goes_by,
    "routed": Chat.routed,
    "lost": lambda chat: chat.moves(Trigger.HOLDER_LOST, SYSTEM),
    "released": lambda chat: chat.moves(Trigger.RELEASED, SYSTEM),
    **{
        trigger.value: lambda chat, trigger=trigger: chat.moves(trigger)
        for trigger in (
            Trigger.ACCEPT,
            Trigger.HOLD,
            Trigger.CLOSE,
            Trigger.REOPEN,
            Trigger.BOT,
            Trigger.HANDOFF,
            Trigger.TRANSFER_AGENT,
            Trigger.TRANSFER_TEAM,
        )
    },
}


def after(*actions: str) -> Chat:
    chat = Chat()
    for name in actions:
        ACTIONS[name](chat)
    return chat


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(sorted(ACTIONS)), max_size=20))
def test_routing_sees_in_events_what_it_would_see_in_the_list(actions: list[str]) -> None:
    after(*actions)


@pytest.mark.parametrize(
    ("actions", "held"),
    [
        pytest.param("accept hold", True, id="parked"),
        pytest.param("accept hold echo", True, id="parked, the owner answers from the phone"),
        pytest.param("accept hold system", True, id="parked, the customer's number changes"),
        pytest.param("accept hold customer", False, id="parked, the customer writes"),
        pytest.param("accept hold accept lost", False, id="parked, accepted, lost"),
        pytest.param("snooze echo", True, id="asleep, the owner answers from the phone"),
        pytest.param("snooze time", False, id="asleep until it wakes"),
        pytest.param("snooze customer", False, id="asleep, the customer writes"),
        pytest.param("accept hold snooze wake", True, id="parked, snoozed, woken by hand"),
        pytest.param("accept hold snooze time", True, id="parked, snoozed, woken by the clock"),
        pytest.param("accept hold snooze transfer_team", False, id="parked, given to a team"),
        pytest.param("bot handoff", False, id="taken from the bot by an agent"),
    ],
)
def test_regression_parked_and_sleeping_chats_are_nobodys_to_give(actions: str, held: bool) -> None:
    chat = after(*actions.split())
    assert chat.picture is not None
    assert (chat.picture.status, chat.picture.held) == (Status.ON_HOLD, held)
    chat.routed()
