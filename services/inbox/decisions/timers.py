"""The timers of a conversation: one table of what becomes due when, and what is done then. Pure.

`due_at` is a lower bound of the next one: it is lowered at once and raised only when it has
passed. A window that each message moves by a second thus leaves the index alone for a day.
A new timer: a kind, its line in `TIMERS`, its case in `settle`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from services.inbox.decisions.doubts import next_question, questions, without_doubt
from services.inbox.decisions.draft import Draft
from services.inbox.decisions.fold import MessageIndex
from services.inbox.decisions.lifecycle import Move, Trigger
from services.inbox.model.conversation import Conversation
from services.inbox.model.events import SYSTEM
from shared.contracts.directory import NumberEntry, Policy
from shared.contracts.events import EventType
from shared.contracts.views import MessageStatus, Status
from shared.value import evolve, value

BOT_SILENCE = timedelta(seconds=60)
"""Of a number that the directory does not know (any more)."""


class TimerKind(StrEnum):
    """What may become due."""

    BOT_SILENT = "bot_silent"
    WINDOW_CLOSING = "window_closing"
    SNOOZE_OVER = "snooze_over"
    STILL_UNKNOWN = "still_unknown"


@value
class Terms:
    """What the tenant set: how long a bot may be silent, how early a window's end is told."""

    bot_silence: timedelta
    window_warning: timedelta


def terms_of(number: NumberEntry | None, policy: Policy) -> Terms:
    """The terms of a number's conversations."""
    return Terms(
        bot_silence=BOT_SILENCE
        if number is None
        else timedelta(seconds=number.bot_silence_seconds),
        window_warning=timedelta(minutes=policy.window_warning_minutes),
    )


def _bot_silent(it: Conversation, terms: Terms, _now: datetime) -> datetime | None:
    if it.status is not Status.BOT or it.bot_waits_since is None:
        return None
    return it.bot_waits_since + terms.bot_silence


def _window_closing(it: Conversation, terms: Terms, now: datetime) -> datetime | None:
    """None for a window that has closed: it is too late to warn of it."""
    closes = it.window_closes_at
    if closes is None or closes <= now or it.status is Status.CLOSED:
        return None
    if not terms.window_warning or it.window_warned == closes:
        return None
    return closes - terms.window_warning


def _snooze_over(it: Conversation, _terms: Terms, _now: datetime) -> datetime | None:
    return it.snoozed_until


def _still_unknown(it: Conversation, _terms: Terms, _now: datetime) -> datetime | None:
    return next_question(it) if it.doubts else None


TIMERS: Mapping[TimerKind, Callable[[Conversation, Terms, datetime], datetime | None]] = {
    TimerKind.BOT_SILENT: _bot_silent,
    TimerKind.WINDOW_CLOSING: _window_closing,
    TimerKind.SNOOZE_OVER: _snooze_over,
    TimerKind.STILL_UNKNOWN: _still_unknown,
}
"""When each is due, None where it does not run; settled in this order."""


def next_due(it: Conversation, terms: Terms, now: datetime) -> datetime | None:
    """When the first of its timers is due."""
    return min((at for due in TIMERS.values() if (at := due(it, terms, now))), default=None)


def with_due(it: Conversation, terms: Terms, now: datetime) -> Conversation:
    """The conversation with its lower bound, which stays where it holds still."""
    due = next_due(it, terms, now)
    if due == it.due_at or (due is not None and it.due_at is not None and it.due_at < due):
        return it
    return evolve(it, due_at=due)


def settle(
    draft: Draft, terms: Terms, messages: MessageIndex, *, gone_team: str | None = None
) -> None:
    """Emits what is due now; nothing for whoever comes late.

    `messages` has its `questions`, `gone_team` is its team where that is not there any more.
    """
    for kind, due in TIMERS.items():
        at = due(draft.conversation, terms, draft.now)
        if at is None or at > draft.now:
            continue
        match kind:
            case TimerKind.BOT_SILENT:
                move = Move(Trigger.HANDOFF, draft.now, gone_team=gone_team)
                draft.move(move, actor=SYSTEM, reason=kind.value)
            case TimerKind.WINDOW_CLOSING:
                was = draft.conversation
                draft.emit(
                    EventType.CONVERSATION_WINDOW_CLOSING,
                    evolve(was, window_warned=was.window_closes_at),
                    actor=SYSTEM,
                )
            case TimerKind.SNOOZE_OVER:
                draft.emit(
                    EventType.CONVERSATION_UPDATED,
                    evolve(draft.conversation, snoozed_until=None),
                    actor=SYSTEM,
                    reason=kind.value,
                    details={"kind": "woken"},
                )
            case TimerKind.STILL_UNKNOWN:
                _ask(draft, messages)
            case _:
                assert_never(kind)


def _ask(draft: Draft, messages: MessageIndex) -> None:
    asked = questions(draft.conversation, draft.now)
    draft.conversation = without_doubt(draft.conversation, *asked)
    for message in map(messages.get, asked):
        if message is not None and message.status is MessageStatus.UNKNOWN and not message.deleted:
            draft.emit(
                EventType.MESSAGE_STATUS,
                draft.conversation,
                actor=SYSTEM,
                message=replace(message, asked_at=draft.now),
            )
