"""Whether a person's call on a conversation goes through: the order of the checks. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeGuard

from services.inbox.decisions.lifecycle import (
    Move,
    Refusal,
    Trigger,
    Viewer,
    has_left,
    holds,
    holds_already,
    in_queue_of,
    may,
    row_of,
    sees,
)
from services.inbox.model.conversation import AnsweredKey, Conversation
from shared.contracts.views import Status

KEYS_KEPT = 32
KEYS_KEPT_FOR = timedelta(hours=24)
NOT_FOUND = Refusal("not_found")
NUMBER_DELETED = Refusal("number_deleted")


class Verdict(StrEnum):
    """What becomes of a call that is not refused."""

    GOES = "goes"
    HOLDS = "holds"
    """It is so already: nothing changes, and it is answered as done."""


def exists(conversation: Conversation | None, tenant: str) -> TypeGuard[Conversation]:
    """Whether the tenant has it; a tombstone counts as nothing."""
    return conversation is not None and conversation.tenant == tenant and not conversation.deleted


def holder_of(conversation: Conversation) -> str | None:
    """Who holds it now: nobody holds what is not open."""
    return conversation.assignee if conversation.status is Status.OPEN else None


def present(conversation: Conversation | None, viewer: Viewer, epoch: int | None) -> Refusal | None:
    """Whether the viewer sees it as they think it is.

    A stale epoch is told also to a former holder and to whoever would see it On Hold: they learn
    who has it now, instead of losing it without a word.
    """
    if not exists(conversation, viewer.tenant):
        return NOT_FOUND
    seen = sees(conversation, viewer)
    if epoch is not None and epoch != conversation.epoch:
        knew_it = viewer.agent in conversation.holders or has_left(conversation, viewer)
        if seen or knew_it or in_queue_of(conversation, viewer):
            return Refusal("stale_epoch", {"holder": holder_of(conversation)})
    if has_left(conversation, viewer):
        return not_holder(conversation)
    return None if seen else NOT_FOUND


def not_holder(conversation: Conversation) -> Refusal:
    return Refusal("not_holder", {"holder": holder_of(conversation)})


def judge(
    conversation: Conversation | None,
    viewer: Viewer,
    move: Move,
    *,
    epoch: int | None,
    bot: bool,
) -> Refusal | Verdict:
    """Whether the viewer may make the move. `bot`: the number has an active one.

    An accept of a held chat is settled by who holds it, whatever epoch the caller knew: the loser
    of a race learns the winner, and the winner's repeat is answered as done.
    """
    if (
        move.trigger is Trigger.ACCEPT
        and exists(conversation, viewer.tenant)
        and conversation.status is Status.OPEN
    ):
        if conversation.assignee == viewer.agent:
            return Verdict.HOLDS
        if in_queue_of(conversation, viewer):
            return Refusal("already_assigned", {"holder": holder_of(conversation)})
    if not exists(conversation, viewer.tenant):
        return NOT_FOUND
    if not has_left(conversation, viewer):
        refusal = _refusal(conversation, viewer, move, epoch)
        if refusal is not None:
            return refusal
    if holds_already(conversation, viewer, move):
        return Verdict.HOLDS
    if row_of(conversation, move) is None:
        return invalid_transition(conversation)
    if move.trigger is Trigger.BOT and not bot:
        return Refusal("no_bot")
    return Verdict.GOES


def _refusal(
    conversation: Conversation, viewer: Viewer, move: Move, epoch: int | None
) -> Refusal | None:
    refusal = present(conversation, viewer, epoch) or may(conversation, viewer, move.trigger)
    if refusal is not None and refusal.code == "not_holder":
        return not_holder(conversation)
    return refusal


def invalid_transition(conversation: Conversation) -> Refusal:
    return Refusal("invalid_transition", {"status": conversation.status.value})


def judge_version(
    conversation: Conversation | None, viewer: Viewer, versions: tuple[int, ...] | None
) -> Refusal | None:
    """Whether it is at one of the versions, None: at any. Who does not see it is told nothing."""
    if versions is None or conversation is None or not sees(conversation, viewer):
        return None
    if conversation.version in versions:
        return None
    return Refusal("version_mismatch", {"version": conversation.version})


def judge_mark(
    conversation: Conversation | None, viewer: Viewer, *, epoch: int | None
) -> Refusal | None:
    """Whether the viewer may mark it read or unread: only the (last) holder."""
    refusal = present(conversation, viewer, epoch)
    if refusal is not None or conversation is None:
        return refusal or NOT_FOUND
    return None if holds(conversation, viewer) else not_holder(conversation)


def judge_send(
    conversation: Conversation | None,
    viewer: Viewer,
    *,
    epoch: int | None,
    needs_window: bool,
    now: datetime,
    number_there: bool = True,
) -> Refusal | None:
    """Whether the viewer may send: the holder of an open chat or its bot, and it is allowed."""
    refusal = present(conversation, viewer, epoch)
    if refusal is not None or conversation is None:
        return refusal or NOT_FOUND
    if not viewer.is_bot and holder_of(conversation) != viewer.agent:
        return not_holder(conversation)
    if conversation.contact.blocked:
        return Refusal("blocked")
    if not number_there:
        return NUMBER_DELETED
    closes = conversation.window_closes_at
    if needs_window and (closes is None or closes <= now):
        return Refusal("window_closed")
    return None


# -- Idempotency-Key


def answered(conversation: Conversation, key: str | None, now: datetime) -> AnsweredKey | None:
    """What the key was answered with, in the last 24 hours."""
    if key is None:
        return None
    since = now - KEYS_KEPT_FOR
    return next((a for a in conversation.answered if a.key == key and a.at > since), None)


def with_answer(
    conversation: Conversation,
    key: str | None,
    status: int,
    now: datetime,
    message_id: str | None = None,
) -> tuple[AnsweredKey, ...]:
    """The keys to keep with this answer: the last 32, of the last 24 hours."""
    since = now - KEYS_KEPT_FOR
    kept = tuple(a for a in conversation.answered if a.at > since and a.key != key)
    if key is not None:
        kept = (*kept, AnsweredKey(key, status, now, message_id))
    return kept[-KEYS_KEPT:]
