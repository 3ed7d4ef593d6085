"""What a fact about a message changes. Facts come late, twice and out of order.

Statuses are kept each with Meta's timestamp and the shown one is derived by rank, so that their
order does not matter. Reactions, edits and revokes apply only if (Meta's time, wamid) is greater
than what is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import assert_never

from services.inbox.model.conversation import Message, ReactionState, Stamp
from services.inbox.model.items import (
    Body,
    EditFact,
    MediaFact,
    MessageFact,
    OutcomeFact,
    ReactionFact,
    RevokeFact,
    StatusFact,
)
from shared.contracts.events import EventType
from shared.contracts.views import MessageStatus

_RISING = (MessageStatus.PLAYED, MessageStatus.READ, MessageStatus.DELIVERED)


def shown_status(
    facts: Mapping[str, datetime], outcome: MessageStatus | None
) -> MessageStatus | None:
    """The status of an outgoing message: the highest that anybody has told.

    `failed` never overrides delivered, read or played (one of several devices has it), and a
    late `sent` never undoes `failed`. A status webhook settles `unknown`.
    """
    for status in _RISING:
        if status in facts:
            return status
    if MessageStatus.FAILED in facts or outcome is MessageStatus.FAILED:
        return MessageStatus.FAILED
    if MessageStatus.SENT in facts:
        return MessageStatus.SENT
    return outcome


def event_of(fact: MessageFact) -> EventType:
    """The event that tells of a fact."""
    match fact:
        case StatusFact() | OutcomeFact():
            return EventType.MESSAGE_STATUS
        case ReactionFact():
            return EventType.MESSAGE_REACTED
        case EditFact():
            return EventType.MESSAGE_EDITED
        case RevokeFact():
            return EventType.MESSAGE_REVOKED
        case MediaFact():
            return EventType.MESSAGE_MEDIA_READY
        case _:
            assert_never(fact)


def apply_fact(message: Message, fact: MessageFact) -> Message | None:
    """The message after the fact; None where it changes nothing (it was known, or is older)."""
    match fact:
        case StatusFact():
            return _apply_status(message, fact)
        case OutcomeFact():
            return _apply_outcome(message, fact)
        case ReactionFact():
            return _apply_reaction(message, fact)
        case EditFact(body, stamp):
            return _apply_edit(message, body, stamp)
        case RevokeFact(stamp):
            if message.revoked:
                return None
            return replace(message, revoked=True, revoke_stamp=stamp)
        case MediaFact():
            return _apply_media(message, fact)
        case _:
            assert_never(fact)


def _apply_edit(message: Message, body: Body, stamp: Stamp) -> Message | None:
    """New words; the file, and what stood around the message, are those that it came with."""
    if not stamp.after(message.edit_stamp):
        return None
    after = replace(message, edited=True, edit_stamp=stamp)
    if body.type == "unsupported":
        return after
    return replace(after, text=body.text, content={**(message.content or {}), **body.content})


def _apply_status(message: Message, fact: StatusFact) -> Message | None:
    facts = message.facts or {}
    if message.direction != "out" or fact.name in facts:
        return None
    facts = {**facts, fact.name: fact.at}
    status = shown_status(facts, message.outcome)
    error = message.error
    if fact.name == MessageStatus.FAILED:
        error = fact.error
    if status is not MessageStatus.FAILED:
        error = None
    asked_at = message.asked_at if status is MessageStatus.UNKNOWN else None
    shown = replace(message, facts=facts, status=status, error=error, asked_at=asked_at)
    if message.wamid is not None or fact.wamid is None:
        return shown
    return replace(shown, wamid=fact.wamid, wamid_key=fact.wamid_key)


def _apply_outcome(message: Message, fact: OutcomeFact) -> Message | None:
    if message.direction != "out" or fact.attempt < message.attempt:
        return None
    settled = message.outcome in (MessageStatus.ACCEPTED, MessageStatus.FAILED)
    if fact.attempt == message.attempt and (settled or message.outcome is fact.outcome):
        return None
    status = shown_status(message.facts or {}, fact.outcome)
    return replace(
        message,
        outcome=fact.outcome,
        attempt=fact.attempt,
        status=status,
        wamid=fact.wamid or message.wamid,
        wamid_key=fact.wamid_key or message.wamid_key,
        error=fact.error if status is MessageStatus.FAILED else None,
        asked_at=None,
    )


def _apply_reaction(message: Message, fact: ReactionFact) -> Message | None:
    others = tuple(r for r in message.reactions if (r.kind, r.by) != (fact.kind, fact.by))
    mine = next((r for r in message.reactions if (r.kind, r.by) == (fact.kind, fact.by)), None)
    if mine is not None and not fact.stamp.after(mine.stamp):
        return None
    return replace(
        message,
        reactions=(*others, ReactionState(fact.kind, fact.by, fact.emoji, fact.stamp)),
    )


def _apply_media(message: Message, fact: MediaFact) -> Message | None:
    media = message.media
    if media is None or media.state == "ready":
        return None
    if fact.media_id is None:
        return (
            None
            if media.state == "failed"
            else replace(message, media=replace(media, state="failed"))
        )
    return replace(
        message,
        media=replace(
            media,
            state="ready",
            id=fact.media_id,
            mime_type=fact.mime_type or media.mime_type,
            size=fact.size,
            sha256=fact.sha256,
            width=fact.width,
            height=fact.height,
            duration_ms=fact.duration_ms,
        ),
    )
