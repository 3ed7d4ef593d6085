"""Who may note, whisper, set the priority and snooze; what a snooze does to a list."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.inbox.decisions.draft import Draft, blank
from services.inbox.decisions.fold import MessageIndex
from services.inbox.decisions.lifecycle import Refusal, Viewer
from services.inbox.decisions.listing import Filters, Selection, select
from services.inbox.decisions.notes import (
    LONGEST_SNOOZE,
    judge_note,
    judge_priority,
    judge_snooze,
    may_read,
    wrong_end,
)
from services.inbox.decisions.timers import Terms, next_due, settle
from services.inbox.model.conversation import ContactSnapshot, Conversation
from shared.contracts.events import EventType
from shared.contracts.views import Role, Status

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TERMS = Terms(timedelta(seconds=60), timedelta(0))
ANA = Viewer("ana", "t1", Role.AGENT, frozenset({"sales"}))
BEA = Viewer("bea", "t1", Role.AGENT, frozenset({"sales"}))
SUE = Viewer("sue", "t1", Role.SUPERVISOR, frozenset())


def _chat(status: Status, holder: str | None = "ana", **members: Any) -> Conversation:
    chat = blank(
        "c1",
        tenant="t1",
        number_id="n1",
        contact=ContactSnapshot("p1"),
        group_id=None,
        generation=1,
        now=NOW,
    )
    return replace(
        chat, status=status, assignee=holder, team="sales", version=3, epoch=2, **members
    )


def _code(refusal: Refusal | None) -> str | None:
    return None if refusal is None else refusal.code


@pytest.mark.parametrize(
    ("chat", "viewer", "whisper", "code"),
    [
        pytest.param(_chat(Status.OPEN), ANA, False, None, id="holder"),
        pytest.param(_chat(Status.OPEN), BEA, False, "not_found", id="colleague"),
        pytest.param(_chat(Status.ON_HOLD, None), BEA, False, None, id="queue"),
        pytest.param(_chat(Status.CLOSED), SUE, False, None, id="closed"),
        pytest.param(_chat(Status.OPEN), ANA, True, "forbidden", id="agent_whispers"),
        pytest.param(_chat(Status.OPEN), SUE, True, None, id="supervisor_whispers"),
        pytest.param(_chat(Status.CLOSED), SUE, True, "invalid_transition", id="to_nobody"),
        pytest.param(None, SUE, False, "not_found", id="nothing"),
    ],
)
def test_who_may_note(chat: Conversation | None, viewer: Viewer, whisper: bool, code: str | None):
    assert _code(judge_note(chat, viewer, epoch=None, whisper=whisper)) == code


@pytest.mark.parametrize(
    ("chat", "viewer", "priority", "snooze"),
    [
        pytest.param(_chat(Status.OPEN), ANA, None, None, id="holder"),
        pytest.param(_chat(Status.OPEN), SUE, None, None, id="supervisor"),
        pytest.param(_chat(Status.OPEN), BEA, "not_found", "not_found", id="colleague"),
        pytest.param(_chat(Status.ON_HOLD, None), BEA, None, None, id="queue"),
        pytest.param(_chat(Status.CLOSED), ANA, None, "invalid_transition", id="closed"),
        pytest.param(_chat(Status.BOT, None), SUE, None, "invalid_transition", id="bot"),
    ],
)
def test_who_may_order_the_work(
    chat: Conversation, viewer: Viewer, priority: str | None, snooze: str | None
):
    assert _code(judge_priority(chat, viewer, epoch=None)) == priority
    assert _code(judge_snooze(chat, viewer, epoch=None)) == snooze
    assert _code(judge_snooze(chat, SUE, epoch=9)) == "stale_epoch"


def test_whisper_is_for_its_reader_and_supervisors():
    whisper = {"to": {"id": "ana", "name": None}}
    assert [may_read(whisper, who) for who in (ANA, BEA, SUE)] == [True, False, True]
    assert may_read({"text": "x"}, BEA)


@pytest.mark.parametrize(
    ("ahead", "code"),
    [
        (timedelta(0), "too_small"),
        (timedelta(minutes=1), None),
        (LONGEST_SNOOZE + timedelta(minutes=1), "too_large"),
    ],
)
def test_snooze_ends_in_the_future(ahead: timedelta, code: str | None):
    assert wrong_end(NOW + ahead, NOW) == code


def test_snooze_is_a_timer_that_runs_once():
    until = NOW + timedelta(hours=1)
    chat = _chat(Status.OPEN, snoozed_until=until)
    assert next_due(chat, TERMS, NOW) == until
    draft = Draft(chat, NOW)
    settle(draft, TERMS, MessageIndex())
    assert draft.events == []
    draft = Draft(chat, until)
    settle(draft, TERMS, MessageIndex())
    assert [event.type for event in draft.events] == [EventType.CONVERSATION_UPDATED]
    assert draft.conversation.snoozed_until is None
    assert next_due(draft.conversation, TERMS, until) is None


@pytest.mark.parametrize("view", list(Status))
def test_lists_leave_out_who_sleeps_where_one_can(view: Status):
    chosen = select(Filters(view), SUE, None, NOW)
    assert isinstance(chosen, Selection)
    assert ("snoozed_until" in chosen.query) == (view in (Status.OPEN, Status.ON_HOLD))
    asleep = select(Filters(view, snoozed=True), SUE, None, NOW)
    assert (asleep is None) == (view in (Status.BOT, Status.CLOSED))
