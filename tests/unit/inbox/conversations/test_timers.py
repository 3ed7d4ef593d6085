from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.inbox.decisions.draft import Draft, blank
from services.inbox.decisions.fold import MessageIndex
from services.inbox.decisions.lifecycle import Move, Trigger, is_lost
from services.inbox.decisions.timers import Terms, next_due, settle, terms_of, with_due
from services.inbox.model.conversation import ContactSnapshot, Conversation, LastLine
from services.inbox.model.events import SYSTEM
from shared.contracts.directory import NumberEntry, Policy
from shared.contracts.events import EventType
from shared.contracts.views import Status

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
TERMS = Terms(bot_silence=60 * SECOND, window_warning=HOUR)
HELD, CLOSING = EventType.CONVERSATION_HELD, EventType.CONVERSATION_WINDOW_CLOSING


def conversation(status: Status = Status.OPEN, **members: Any) -> Conversation:
    it = blank(
        "c1",
        tenant="t1",
        number_id="n1",
        contact=ContactSnapshot("p1"),
        group_id=None,
        generation=1,
        now=NOW,
    )
    return replace(it, status=status, version=1, **members)


def settled(it: Conversation, terms: Terms = TERMS, now: datetime = NOW) -> Draft:
    draft = Draft(it, now)
    settle(draft, terms, MessageIndex())
    return draft


BOT, OPEN, CLOSED = Status.BOT, Status.OPEN, Status.CLOSED
SOON = NOW + HOUR


@pytest.mark.parametrize(
    ("status", "members", "expected"),
    [
        pytest.param(BOT, {"bot_waits_since": NOW - 60 * SECOND}, [HELD], id="bot silent"),
        pytest.param(BOT, {"bot_waits_since": NOW - 59 * SECOND}, [], id="bot has a second left"),
        pytest.param(BOT, {}, [], id="bot owes nothing"),
        pytest.param(OPEN, {"bot_waits_since": NOW - HOUR}, [], id="not the bot's any more"),
        pytest.param(OPEN, {"window_closes_at": SOON}, [CLOSING], id="window closing"),
        pytest.param(Status.ON_HOLD, {"window_closes_at": SOON}, [CLOSING], id="while it waits"),
        pytest.param(OPEN, {"window_closes_at": SOON + SECOND}, [], id="window not yet closing"),
        pytest.param(
            OPEN, {"window_closes_at": SOON, "window_warned": SOON}, [], id="warned of already"
        ),
        pytest.param(
            OPEN,
            {"window_closes_at": SOON, "window_warned": SOON - HOUR},
            [CLOSING],
            id="warned of the one before",
        ),
        pytest.param(OPEN, {"window_closes_at": NOW}, [], id="window has closed"),
        pytest.param(CLOSED, {"window_closes_at": SOON}, [], id="nobody to warn"),
        pytest.param(
            BOT,
            {"bot_waits_since": NOW - HOUR, "window_closes_at": SOON},
            [HELD, CLOSING],
            id="both at once",
        ),
    ],
)
def test_what_is_due_is_settled_once(
    status: Status, members: dict[str, Any], expected: list[EventType]
):
    draft = settled(conversation(status, **members))
    assert [event.type for event in draft.events] == expected
    late = settled(draft.conversation)
    assert late.events == []


def test_silent_bot_loses_the_chat_with_the_reason():
    it = conversation(BOT, bot_waits_since=NOW - HOUR, epoch=3)
    draft = settled(it)
    assert (draft.conversation.status, draft.conversation.epoch) == (Status.ON_HOLD, 4)
    assert (draft.events[0].reason, draft.conversation.waiting_since) == ("bot_silent", NOW)


def test_no_warning_is_asked_for():
    terms = terms_of(None, Policy(window_warning_minutes=0))
    assert settled(conversation(window_closes_at=SOON), terms).events == []


def test_terms_are_the_numbers_and_the_tenants():
    number = NumberEntry(
        id="n1", tenant="t1", version=1, phone_number_id="1", bot_silence_seconds=5
    )
    assert terms_of(number, Policy(window_warning_minutes=2)) == Terms(5 * SECOND, 120 * SECOND)


def test_due_at_is_lowered_at_once_and_raised_only_when_it_passed():
    it = with_due(conversation(window_closes_at=NOW + 24 * HOUR), TERMS, NOW)
    assert it.due_at == NOW + 23 * HOUR
    later = with_due(replace(it, window_closes_at=NOW + 30 * HOUR), TERMS, NOW + 6 * HOUR)
    assert later.due_at == it.due_at
    owing = with_due(replace(later, status=BOT, bot_waits_since=NOW), TERMS, NOW)
    assert owing.due_at == NOW + 60 * SECOND
    answered = with_due(replace(owing, bot_waits_since=None), TERMS, NOW)
    assert answered.due_at == owing.due_at
    assert settled(answered, now=NOW + 60 * SECOND).events == []
    assert next_due(answered, TERMS, NOW + 60 * SECOND) == NOW + 29 * HOUR


def test_closed_conversation_has_no_timer():
    it = with_due(conversation(window_closes_at=SOON + HOUR), TERMS, NOW)
    draft = Draft(it, NOW)
    draft.move(Move(Trigger.CLOSE, NOW), actor=SYSTEM)
    assert with_due(draft.conversation, TERMS, NOW).due_at is None


@pytest.mark.parametrize(("direction", "owes"), [("in", NOW), ("out", None)])
def test_bot_that_is_given_a_chat_owes_an_answer_to_an_open_question(
    direction: Any, owes: datetime | None
):
    line = LastLine("m1", 1, direction, "text", "hola", NOW, None)
    draft = Draft(conversation(OPEN, assignee="a1", last_message=line), NOW)
    draft.move(Move(Trigger.BOT, NOW), actor=SYSTEM)
    assert draft.conversation.bot_waits_since == owes


def test_wait_goes_on_when_the_holder_is_lost():
    waiting = conversation(Status.ON_HOLD, waiting_since=NOW, opened_at=NOW)
    draft = Draft(waiting, NOW + 10 * SECOND)
    draft.move(Move(Trigger.ACCEPT, draft.now, agent="a1"), actor=SYSTEM)
    assert is_lost(draft.conversation, "a1")
    assert not is_lost(draft.conversation, "a2")
    assert not is_lost(replace(draft.conversation, responders=("a1",)), "a1")
    later = Draft(draft.conversation, NOW + 60 * SECOND)
    later.move(Move(Trigger.HOLDER_LOST, later.now), actor=SYSTEM)
    lost = later.conversation
    assert (lost.status, lost.waiting_since, lost.waited_ms) == (Status.ON_HOLD, NOW, 0)
    assert lost.assignee is None
