"""Folds items into a conversation: state, items and what was looked up in; events out. Pure.

Applying the same items again changes nothing: a message that is known is a duplicate, a fact that
is stored or older changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, assert_never

from services.inbox.decisions.bots import FAILED as BOT_FAILED
from services.inbox.decisions.doubts import UNKNOWN_GRACE, followed
from services.inbox.decisions.draft import Draft, last_line
from services.inbox.decisions.facts import apply_fact, event_of
from services.inbox.decisions.hours import closed_message, is_told
from services.inbox.decisions.lifecycle import Move, Trigger
from services.inbox.decisions.sending import queue
from services.inbox.model.conversation import (
    AuthorRef,
    ContactSnapshot,
    Conversation,
    Media,
    Message,
)
from services.inbox.model.events import CUSTOMER, ROUTING, SYSTEM, Command, Emitted
from services.inbox.model.items import (
    Assignment,
    BotFailure,
    Called,
    Fact,
    Incoming,
    Item,
    MessageFact,
    OutOfHours,
    ReactionFact,
)
from shared.contracts.commands import CommandType
from shared.contracts.events import By
from shared.contracts.events import EventType as E
from shared.contracts.views import MessageStatus, Status
from shared.value import evolve, value

EVENTS_PER_CHANGE = 100
BYTES_PER_CHANGE = 1_000_000
WINDOW = timedelta(hours=24)
WINDOW_OF_ADS = timedelta(hours=72)


class Fate(StrEnum):
    """What became of an item."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    REPEATED = "repeated"
    """Stored, and from this very record: it was read again."""
    BLOCKED = "blocked"
    APPLIED = "applied"
    UNCHANGED = "unchanged"
    UNRESOLVED = "unresolved"
    REFUSED = "refused"


class MessageIndex:
    """The messages that were looked up, overlaid with what is unpublished, by any of their ids."""

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self._by_id: dict[str, Message] = {}
        self._ids: dict[str, str] = {}
        for message in messages:
            self.put(message)

    def put(self, message: Message) -> None:
        """Keeps the newest state of a message."""
        held = self._by_id.get(message.id)
        if held is None or message.v >= held.v:
            self._by_id[message.id] = message
            if message.wamid_key is not None:
                self._ids[message.wamid_key] = message.id

    def get(self, ref: str) -> Message | None:
        return self._by_id.get(self._ids.get(ref, ref))

    def first(self, refs: Iterable[str]) -> Message | None:
        return next((m for m in map(self.get, refs) if m is not None), None)


@value
class Surroundings:
    """What a fold needs beside the conversation and its messages.

    `free_slots`: open chats that an agent may still be given by routing. `unknown_grace`: how long
    after a send of unknown outcome an agent is asked about it. `gone_team`: see `Move`.
    """

    now: datetime
    contact: ContactSnapshot
    bot: bool = False
    number_team: str | None = None
    free_slots: Mapping[str, int] = field(default_factory=dict)
    closed_text: str | None = None
    max_bytes: int = BYTES_PER_CHANGE
    unknown_grace: timedelta = UNKNOWN_GRACE
    gone_team: str | None = None


@dataclass(slots=True)
class Folded:
    """The outcome: `left` are items for the next change of the same conversation."""

    conversation: Conversation
    events: list[Emitted]
    fates: list[tuple[Item, Fate]]
    left: list[Item]


def fold(
    conversation: Conversation,
    items: list[Item],
    messages: MessageIndex,
    around: Surroundings,
) -> Folded:
    """Applies the items in order, at most 100 events or about 1 MB of raw items at a time."""
    draft = Draft(conversation, around.now)
    fates: list[tuple[Item, Fate]] = []
    size = 0
    for position, item in enumerate(items):
        if len(draft.events) >= EVENTS_PER_CHANGE - 1 or size >= around.max_bytes:
            return Folded(draft.conversation, draft.events, fates, items[position:])
        match item:
            case Incoming():
                fate = _receive(draft, item, messages, around)
                size += len(item.raw)
            case Fact():
                fate = _apply(draft, item, messages, around)
                size += _weight(draft) if fate is Fate.APPLIED else 0
            case Assignment():
                fate = _assign(draft, item, around)
            case BotFailure():
                fate = _give_up(draft, item, around)
            case OutOfHours():
                fate = _tell_hours(draft, item, messages, around)
            case Called():
                fate = _open_window(draft, item)
            case _:
                assert_never(item)
        fates.append((item, fate))
    return Folded(draft.conversation, draft.events, fates, [])


def _weight(draft: Draft) -> int:
    """The bytes that the last event repeats: a fact's event carries its whole message."""
    message = draft.events[-1].message
    return 0 if message is None else len(message.text or "") + len(message.raw or b"")


def _receive(draft: Draft, item: Incoming, messages: MessageIndex, around: Surroundings) -> Fate:
    known = messages.get(item.id)
    if known is not None:
        again = item.source is not None and known.source == item.source
        return Fate.REPEATED if again else Fate.DUPLICATE
    contact = _as_known(draft.conversation, around.contact)
    if contact.blocked and item.origin != "phone":
        return Fate.BLOCKED
    if item.opens and draft.conversation.status is Status.CLOSED:
        opening = Move(
            Trigger.CUSTOMER_WROTE, draft.now, bot=around.bot, number_team=around.number_team
        )
        draft.conversation = evolve(draft.conversation, contact=contact)
        draft.move(opening, actor=CUSTOMER)
    was = draft.conversation
    quoted = messages.get(item.reply_key) if item.reply_key else None
    message = Message(
        id=item.id,
        tenant=was.tenant,
        number_id=was.number_id,
        conversation_id=was.id,
        v=was.version + 1,
        seq=was.seq + 1,
        direction="out" if item.origin == "phone" else "in",
        type=item.body.type,
        received_at=item.received_at,
        author=_author(item, contact),
        text=item.body.text,
        media=item.body.media,
        content=item.body.content,
        reply_to=quoted.id if quoted else None,
        sent_at=item.sent_at,
        wamid=item.wamid,
        wamid_key=item.id,
        status=MessageStatus.SENT if item.origin == "phone" else None,
        outcome=MessageStatus.SENT if item.origin == "phone" else None,
        raw=item.raw,
        source=item.source,
    )
    changes: dict[str, Any] = {
        "contact": contact,
        "seq": message.seq,
        "last_message": last_line(message),
    }
    if item.opens:
        closes = min(item.sent_at, draft.now) + (
            WINDOW_OF_ADS if "referral" in item.body.content else WINDOW
        )
        changes |= {
            "unread": was.unread + 1,
            "window_closes_at": max(closes, was.window_closes_at or closes),
            "last_inbound_wamid": item.wamid,
            "held_by_agent": False,
            "snoozed_until": None,
        }
        if was.status is Status.BOT:
            changes["bot_waits_since"] = was.bot_waits_since or draft.now
    event = draft.emit(
        E.MESSAGE_RECEIVED,
        evolve(was, **changes),
        actor=CUSTOMER if item.opens else SYSTEM,
        message=message,
        created=True,
        commands=_fetch(message, item.body.media),
    )
    if event.message is not None:
        messages.put(event.message)
    return Fate.STORED


def _as_known(conversation: Conversation, contact: ContactSnapshot) -> ContactSnapshot:
    """What webhooks show of the contact, and whether it is blocked as the conversation knows.

    A block reaches a conversation by a compare-and-set of its own. What was looked up of the
    contact may be older: it would let a message in behind the block, and open the chat again.
    """
    if conversation.version == 0:
        return contact
    return replace(contact, blocked=conversation.contact.blocked)


def _author(item: Incoming, contact: ContactSnapshot) -> AuthorRef:
    match item.origin:
        case "customer":
            name = item.person.name or (None if item.author_id else contact.name)
            return AuthorRef("contact", item.author_id or contact.id, name)
        case "phone":
            return AuthorRef("phone")
        case "system":
            return AuthorRef("system")


def _fetch(message: Message, media: Media | None) -> tuple[Command, ...]:
    if media is None or media.whatsapp_id is None:
        return ()
    return (
        Command(
            CommandType.MEDIA_FETCH,
            {
                "message_id": message.id,
                "conversation_id": message.conversation_id,
                "number_id": message.number_id,
                "whatsapp_media_id": media.whatsapp_id,
                "url": media.url,
                "mime_type": media.mime_type,
                "sha256": media.sha256,
                "filename": media.filename,
            },
        ),
    )


def _apply(draft: Draft, item: Fact, messages: MessageIndex, around: Surroundings) -> Fate:
    message = messages.first(item.refs)
    if message is None or message.conversation_id != draft.conversation.id:
        return Fate.UNRESOLVED
    # Until the deletion's own effects are written, the message is found as it was.
    if message.deleted or draft.conversation.deleted:
        return Fate.UNCHANGED
    changed = apply_fact(message, _by_the_contact(item.fact, message, draft.conversation))
    if changed is None:
        return Fate.UNCHANGED
    was = draft.conversation
    line = was.last_message
    after = was
    if line is not None and line.id == message.id:
        after = evolve(was, last_message=last_line(changed))
    if was.doubts or changed.status is MessageStatus.UNKNOWN:
        after = followed(after, message, changed, draft.now + around.unknown_grace)
    event = draft.emit(event_of(item.fact), after, actor=SYSTEM, message=changed)
    if event.message is not None:
        messages.put(event.message)
    return Fate.APPLIED


def _by_the_contact(fact: MessageFact, message: Message, conversation: Conversation) -> MessageFact:
    """A reaction in a contact's own chat is that contact's, however the webhook shows them."""
    if not isinstance(fact, ReactionFact) or fact.kind != "contact" or conversation.group_id:
        return fact
    earlier = (reaction.by for reaction in message.reactions if reaction.kind == "contact")
    return replace(fact, by=next(earlier, conversation.contact.id))


def _assign(draft: Draft, item: Assignment, around: Surroundings) -> Fate:
    """Applies iff on hold and not put aside, same episode and epoch, and the agent has room."""
    decision = item.decision
    now = draft.conversation
    agent = decision.agent_id
    if (
        agent is None
        or now.deleted
        or now.status is not Status.ON_HOLD
        or now.put_aside
        or (now.episode, now.epoch) != (decision.episode, decision.epoch)
        or around.free_slots.get(agent, 0) < 1
    ):
        return Fate.REFUSED
    draft.move(
        Move(Trigger.ROUTED, draft.now, agent=agent),
        actor=ROUTING,
        by=By.ROUTING,
        reason=decision.reason,
        explanation=decision.explanation,
    )
    return Fate.APPLIED


def _give_up(draft: Draft, item: BotFailure, around: Surroundings) -> Fate:
    """A bot that failed loses the chat, unless the chat has left it since."""
    now = draft.conversation
    if now.deleted or now.status is not Status.BOT or now.epoch != item.epoch:
        return Fate.REFUSED
    draft.move(
        Move(Trigger.HANDOFF, draft.now, gone_team=around.gone_team),
        actor=SYSTEM,
        reason=BOT_FAILED,
        explanation={"cause": item.cause},
    )
    return Fate.APPLIED


def _open_window(draft: Draft, item: Called) -> Fate:
    was = draft.conversation
    closes = min(item.at, draft.now) + WINDOW
    if was.deleted or was.contact.blocked:
        return Fate.REFUSED
    if closes <= draft.now or (was.window_closes_at and was.window_closes_at >= closes):
        return Fate.UNCHANGED
    draft.emit(
        E.CONVERSATION_UPDATED,
        evolve(was, window_closes_at=closes),
        actor=CUSTOMER,
        details={"kind": "called"},
    )
    return Fate.APPLIED


def _tell_hours(
    draft: Draft, item: OutOfHours, messages: MessageIndex, around: Surroundings
) -> Fate:
    if around.closed_text is None or not is_told(draft.conversation, item, draft.now):
        return Fate.REFUSED
    if messages.get(item.message_id) is not None:
        return Fate.DUPLICATE
    message = closed_message(draft.conversation, item, around.closed_text, draft.now)
    messages.put(queue(draft, message, None))
    return Fate.STORED
