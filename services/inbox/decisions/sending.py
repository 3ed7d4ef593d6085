"""From what an agent asks to send to the message, its events and its command. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from services.inbox.decisions.doubts import without_doubt
from services.inbox.decisions.draft import Draft, last_line
from services.inbox.decisions.lifecycle import Viewer
from services.inbox.decisions.views import iso
from services.inbox.decisions.whatsapp import MEDIA_TYPES
from services.inbox.model.conversation import (
    UNNAMED,
    AuthorRef,
    Conversation,
    Media,
    Message,
    ReactionState,
    SendFailure,
    Stamp,
)
from services.inbox.model.events import ActorRef, Command
from services.inbox.model.outgoing import OutgoingRequest, StoredMedia
from shared.contracts.commands import CommandType
from shared.contracts.events import EventType
from shared.contracts.views import ActorKind, MessageStatus

DISCARDED = "discarded"
_FAILED = MessageStatus.FAILED


def compose(
    request: OutgoingRequest,
    conversation: Conversation,
    viewer: Viewer,
    *,
    message_id: str,
    media: StoredMedia | None,
    now: datetime,
) -> Message:
    """The queued message."""
    text = request.text
    content: dict[str, Any] = {}
    match request.type:
        case "location" | "contacts" | "interactive" | "template":
            shape = getattr(request, request.type)
            content = {request.type: shape}
            text = _words(request.type, shape)
        case _:
            pass
    return Message(
        id=message_id,
        tenant=conversation.tenant,
        number_id=conversation.number_id,
        conversation_id=conversation.id,
        v=conversation.version + 1,
        seq=conversation.seq + 1,
        direction="out",
        type=request.type,
        received_at=now,
        author=AuthorRef("bot", viewer.agent, viewer.name)
        if viewer.is_bot
        else AuthorRef("agent", viewer.agent),
        text=text,
        media=None if media is None else _media(request, media),
        content=content,
        reply_to=request.reply_to,
        client_id=request.client_id,
        status=MessageStatus.QUEUED,
        outcome=MessageStatus.QUEUED,
    )


def _words(type_: str, shape: Any) -> str | None:
    """What a list shows: the words of the body, or the place's name."""
    if type_ == "location":
        return shape.get("name") or None
    if type_ == "interactive":
        body = shape.get("body")
        return body.get("text") if isinstance(body, dict) else None
    return None


def _media(request: OutgoingRequest, stored: StoredMedia) -> Media:
    choice = request.media
    return Media(
        state="ready",
        id=stored.id,
        mime_type=stored.mime_type,
        size=stored.size,
        sha256=stored.sha256,
        filename=(choice.filename if choice else None) or stored.filename,
        voice=choice.voice if choice else False,
        width=stored.width,
        height=stored.height,
        duration_ms=stored.duration_ms,
    )


def queue(draft: Draft, message: Message, quoted: Message | None) -> Message:
    """Emits `message.queued`: the message, its command, and what a list shows of it."""
    was = draft.conversation
    kind = message.author.kind
    by_agent = kind == "agent"
    first = was.first_response_at or draft.now
    event = draft.emit(
        EventType.MESSAGE_QUEUED,
        replace(
            was,
            seq=message.seq,
            last_message=last_line(message),
            first_response_at=first if by_agent else was.first_response_at,
            bot_waits_since=None,
            responders=_and(was.responders, message.author.id) if by_agent else was.responders,
        ),
        actor=ActorRef(ActorKind(kind), message.author.id),
        message=message,
        created=True,
        commands=(_send(was, message, message.seq, draft.now, quoted),),
    )
    return event.message or message


def _and(responders: tuple[str, ...], agent: str | None) -> tuple[str, ...]:
    return responders if agent is None or agent in responders else (*responders, agent)


def resend(draft: Draft, message: Message, actor: ActorRef, quoted: Message | None) -> Message:
    """Queues a message again whose sending failed or ended unknown.

    The attempt is raised at once, so that what is still told of the last one is older. WhatsApp
    will call it by another wamid.
    """
    # A status webhook may have come before the outcome of the first attempt: 0 is that one's base.
    base = max(message.attempt, 1)
    again = replace(
        message,
        attempt=base + 1,
        outcome=MessageStatus.QUEUED,
        status=MessageStatus.QUEUED,
        facts=None,
        earlier={**(message.earlier or {}), message.wamid_key or UNNAMED: message.facts or {}},
        wamid=None,
        wamid_key=None,
        error=None,
        asked_at=None,
    )
    was = draft.conversation
    seq = was.seq + 1
    command = _send(was, message, seq, draft.now, quoted, attempt_base=base)
    after = replace(_settled(was, again), seq=seq)
    event = draft.emit(
        EventType.MESSAGE_STATUS, after, actor=actor, message=again, commands=(command,)
    )
    _note(draft, "resent", message, actor)
    return event.message or again


def discard(draft: Draft, message: Message, actor: ActorRef) -> Message:
    """Gives up a message whose sending failed or ended unknown; later proof still counts."""
    gone = replace(
        message,
        outcome=_FAILED,
        status=_FAILED,
        error=SendFailure(DISCARDED),
        asked_at=None,
    )
    after = _settled(draft.conversation, gone)
    event = draft.emit(EventType.MESSAGE_STATUS, after, actor=actor, message=gone)
    _note(draft, "discarded", message, actor)
    return event.message or gone


def _note(draft: Draft, kind: str, message: Message, actor: ActorRef) -> None:
    """A line of the internal log: an event of a message tells nobody's name."""
    draft.emit(
        EventType.CONVERSATION_UPDATED,
        draft.conversation,
        actor=actor,
        details={"kind": kind, "message_id": message.id},
    )


def is_discarded(message: Message) -> bool:
    return message.error is not None and message.error.code == DISCARDED


def _settled(conversation: Conversation, message: Message) -> Conversation:
    """The conversation once somebody settled the message."""
    conversation = without_doubt(conversation, message.id)
    line = conversation.last_message
    if line is None or line.id != message.id:
        return conversation
    return replace(conversation, last_message=last_line(message))


def react(
    draft: Draft, target: Message, viewer: Viewer, *, emoji: str, message_id: str
) -> Message | None:
    """Emits `message.reacted` on the target; None where it has this reaction already.

    The customer sees one reaction of the business, whichever agent set it: the last one counts.
    The command has an id of its own and a place in the order of the chat.
    """
    ours = [r for r in target.reactions if r.kind == "agent"]
    shown = next((r for r in ours if r.emoji), None)
    if (shown.emoji if shown else None) == (emoji or None):
        return None
    stamp = Stamp(draft.now, message_id)
    others = tuple(r for r in target.reactions if r.kind != "agent")
    changed = replace(
        target,
        reactions=(*others, ReactionState("agent", viewer.agent, emoji or None, stamp)),
    )
    was = draft.conversation
    seq = was.seq + 1
    body = {"message_id": target.wamid, "emoji": emoji}
    event = draft.emit(
        EventType.MESSAGE_REACTED,
        replace(was, seq=seq),
        actor=ActorRef(ActorKind.AGENT, viewer.agent),
        message=changed,
        commands=(_command(was, message_id, "reaction", seq, draft.now, body),),
    )
    return event.message


# -- commands


def _send(
    conversation: Conversation,
    message: Message,
    seq: int,
    now: datetime,
    quoted: Message | None,
    *,
    attempt_base: int = 0,
) -> Command:
    """The command of a message. A resend takes a new place in the order: later ones went on."""
    more: dict[str, Any] = {}
    if quoted is not None and quoted.wamid is not None:
        more["reply_to_wamid"] = quoted.wamid
    media = message.media
    if media is not None:
        more["media"] = {
            "id": media.id,
            "mime_type": media.mime_type,
            "sha256": media.sha256,
            "size": media.size,
            "filename": media.filename,
            "voice": media.voice,
        }
    if attempt_base:
        more["attempt_base"] = attempt_base
    return _command(conversation, message.id, message.type, seq, now, body_of(message), **more)


def _command(
    conversation: Conversation,
    message_id: str,
    type_: str,
    seq: int,
    now: datetime,
    body: Any,
    **more: Any,
) -> Command:
    return Command(
        CommandType.MESSAGE_SEND,
        {
            "message_id": message_id,
            "conversation_id": conversation.id,
            "number_id": conversation.number_id,
            "seq": seq,
            "recipient": recipient_of(conversation),
            "type": type_,
            "body": body,
            "queued_at": iso(now),
            **more,
        },
    )


def recipient_of(conversation: Conversation) -> dict[str, str | None]:
    """Whom a command is for: the group, or the contact by phone and BSUID."""
    if conversation.group_id is not None:
        return {"group_id": conversation.group_id}
    contact = conversation.contact
    digits = "".join(c for c in contact.wa_id or "" if c.isdigit())
    return {"wa_id": digits or None, "user_id": contact.user_id}


def body_of(message: Message) -> Any:
    """The member that Meta's request has under the type's name."""
    if message.type == "text":
        return {"body": message.text}
    if message.type not in MEDIA_TYPES:
        return (message.content or {}).get(message.type)
    body: dict[str, Any] = {}
    media = message.media
    if message.text:
        body["caption"] = message.text
    if media is not None and message.type == "document" and media.filename:
        body["filename"] = media.filename
    if media is not None and media.voice:
        body["voice"] = True
    return body
