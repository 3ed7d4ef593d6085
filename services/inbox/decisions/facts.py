"""What a fact about a message changes. Facts come late, twice and out of order.

Statuses are kept each with Meta's timestamp and the shown one is derived by rank, so that their
order does not matter. Reactions, edits and revokes apply only if (Meta's time, wamid) is greater
than what is stored.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import assert_never

from services.inbox.model.conversation import UNNAMED, Message, ReactionState, Stamp
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
_UNSENT = (MessageStatus.FAILED, MessageStatus.UNKNOWN)


def shown_status(
    facts: Mapping[str, datetime],
    outcome: MessageStatus | None,
    earlier: Collection[Mapping[str, datetime]] = (),
) -> MessageStatus | None:
    """The status of an outgoing message: the highest that anybody has told.

    `failed` never overrides delivered, read or played (one of several devices has it), and a
    late `sent` never undoes `failed`. A status webhook settles `unknown`.

    `earlier`: the facts of the commands before a resend. By whichever the customer has it, they
    have it; else the newest counts, but while an earlier one is still on its way the message has
    neither failed nor is it in doubt. That an earlier one failed is what the resend was for.
    """
    for status in _RISING:
        if status in facts or any(status in each for each in earlier):
            return status
    newest = _of_command(facts, outcome)
    if newest in _UNSENT and any(_of_command(each, None) is MessageStatus.SENT for each in earlier):
        return MessageStatus.SENT
    return newest


def _of_command(
    facts: Mapping[str, datetime], outcome: MessageStatus | None
) -> MessageStatus | None:
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
    facts, earlier = message.facts or {}, message.earlier or {}
    other = _other_wamid(message, fact)
    known = facts if other is None else earlier.get(other, {})
    if message.direction != "out" or fact.name in known:
        return None
    told = {**known, fact.name: fact.at}
    if other is None:
        facts = told
    else:
        earlier = {**earlier, other: told}
    status = shown_status(facts, message.outcome, earlier.values())
    error = message.error
    if fact.name == MessageStatus.FAILED:
        error = fact.error if other is None else error or fact.error
    if status is not MessageStatus.FAILED:
        error = None
    asked_at = message.asked_at if status is MessageStatus.UNKNOWN else None
    shown = replace(message, facts=facts, status=status, error=error, asked_at=asked_at)
    if other is not None:
        return replace(shown, earlier=earlier)
    if message.wamid is not None or fact.wamid is None:
        return shown
    return replace(shown, wamid=fact.wamid, wamid_key=fact.wamid_key)


def _other_wamid(message: Message, fact: StatusFact) -> str | None:
    """By what the command is known that it is about; None: it is the message's newest.

    While the newest has no wamid, and one before it had none either, what comes under a new wamid
    may be of both: it counts as the newest's once delivery says so (`_apply_outcome`).
    """
    earlier, key = message.earlier, fact.wamid_key
    if earlier is None or key is None or key == message.wamid_key:
        return None
    if message.wamid_key is None and key not in earlier and UNNAMED not in earlier:
        return None
    return key


def _apply_outcome(message: Message, fact: OutcomeFact) -> Message | None:
    if message.direction != "out" or fact.attempt < message.attempt:
        return None
    settled = message.outcome in (MessageStatus.ACCEPTED, MessageStatus.FAILED)
    if fact.attempt == message.attempt and (settled or message.outcome is fact.outcome):
        return None
    facts, earlier = message.facts, message.earlier
    if earlier is not None and fact.wamid_key in earlier:
        earlier = dict(earlier)
        facts = {**earlier.pop(fact.wamid_key), **(facts or {})}
    status = shown_status(facts or {}, fact.outcome, (earlier or {}).values())
    return replace(
        message,
        facts=facts,
        earlier=earlier,
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
