"""Conversations and messages as MongoDB keeps them. Members at their default are left out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from services.inbox.model.conversation import (
    AnsweredKey,
    AuthorRef,
    ContactSnapshot,
    Conversation,
    Doubt,
    LastLine,
    Media,
    Message,
    ReactionState,
    SendFailure,
    Stamp,
    Tenure,
)
from shared.contracts.views import MessageStatus, Priority, Status
from shared.mongo.client import Document


def _status(value: str | None) -> MessageStatus | None:
    return None if value is None else MessageStatus(value)


_MOMENTS = ("bot_waits_since", "window_warned", "waited_since", "snoozed_until", "due_at")
"""Dates that most conversations are without."""


def conversation_document(it: Conversation) -> Document:
    """The state without `_id`, `version` and `outbox`, which the head-of-log adds."""
    contact = it.contact
    document: Document = {
        "tenant": it.tenant,
        "number": it.number_id,
        "contact": {
            "id": contact.id,
            "name": contact.name,
            "wa_id": contact.wa_id,
            "user_id": contact.user_id,
            "username": contact.username,
            "blocked": contact.blocked,
        },
        "group": it.group_id,
        "generation": it.generation,
        "status": it.status.value,
        "episode": it.episode,
        "epoch": it.epoch,
        "created_at": it.created_at,
        "updated_at": it.updated_at,
        "assignee": it.assignee,
        "team": it.team,
        "labels": list(it.labels),
        "unread": it.unread,
        # Whose index moves with the first message alone.
        **({"has_unread": True} if it.unread else {}),
        "seq": it.seq,
        "opened_at": it.opened_at,
        "closed_at": it.closed_at,
        "waiting_since": it.waiting_since,
        "first_response_at": it.first_response_at,
        "window_closes_at": it.window_closes_at,
        "last_inbound_wamid": it.last_inbound_wamid,
        "held_by_agent": it.held_by_agent,
        "holders": list(it.holders),
        "deleted": it.deleted,
    }
    if it.responders:
        document["responders"] = list(it.responders)
    for name in _MOMENTS:
        moment = getattr(it, name)
        if moment is not None:
            document[name] = moment
    line = it.last_message
    if line is not None:
        document["last_message"] = _line_document(line)
    if it.waited_ms:
        document["waited_ms"] = it.waited_ms
    if it.tenures:
        document["tenures"] = tenures_document(it.tenures)
    if it.priority is not Priority.NORMAL:
        document["priority"] = it.priority.value
    if it.doubts:
        document["doubts"] = [[doubt.message_id, doubt.ask_at] for doubt in it.doubts]
    if it.answered:
        document["answered"] = [
            {"key": a.key, "status": a.status, "at": a.at, "message_id": a.message_id}
            for a in it.answered
        ]
    return document


def conversation_of(conversation_id: str, version: int, state: Document) -> Conversation:
    """The conversation of a loaded head."""
    contact = state["contact"]
    line = state.get("last_message")
    return Conversation(
        id=conversation_id,
        tenant=state["tenant"],
        number_id=state["number"],
        contact=ContactSnapshot(
            id=contact["id"],
            name=contact["name"],
            wa_id=contact["wa_id"],
            user_id=contact["user_id"],
            username=contact["username"],
            blocked=contact["blocked"],
        ),
        group_id=state["group"],
        generation=state["generation"],
        version=version,
        status=Status(state["status"]),
        episode=state["episode"],
        epoch=state["epoch"],
        created_at=state["created_at"],
        updated_at=state["updated_at"],
        assignee=state["assignee"],
        team=state["team"],
        labels=tuple(state["labels"]),
        unread=state["unread"],
        seq=state["seq"],
        last_message=None
        if line is None
        else LastLine(
            id=line["id"],
            seq=line["seq"],
            direction=line["direction"],
            type=line["type"],
            text=line["text"],
            at=line["at"],
            status=_status(line["status"]),
            revoked=line.get("revoked", False),
        ),
        opened_at=state["opened_at"],
        closed_at=state["closed_at"],
        waiting_since=state["waiting_since"],
        first_response_at=state["first_response_at"],
        window_closes_at=state["window_closes_at"],
        last_inbound_wamid=state["last_inbound_wamid"],
        held_by_agent=state["held_by_agent"],
        holders=tuple(state["holders"]),
        waited_ms=state.get("waited_ms", 0),
        tenures=tenures_of(state.get("tenures", ())),
        priority=Priority(state.get("priority", Priority.NORMAL)),
        snoozed_until=state.get("snoozed_until"),
        deleted=state["deleted"],
        answered=tuple(
            AnsweredKey(a["key"], a["status"], a["at"], a["message_id"])
            for a in state.get("answered", ())
        ),
        responders=tuple(state.get("responders", ())),
        waited_since=state.get("waited_since"),
        bot_waits_since=state.get("bot_waits_since"),
        window_warned=state.get("window_warned"),
        doubts=tuple(Doubt(*each) for each in doubts) if (doubts := state.get("doubts")) else (),
        due_at=state.get("due_at"),
    )


def tenures_document(tenures: Iterable[Tenure]) -> list[list[Any]]:
    return [[each.agent, each.since, each.until] for each in tenures]


def tenures_of(stored: Iterable[Iterable[Any]]) -> tuple[Tenure, ...]:
    return tuple(Tenure(*each) for each in stored)


# -- messages

_PLAIN = (
    "text",
    "reply_to",
    "sent_at",
    "client_id",
    "wamid",
    "attempt",
    "facts",
    "earlier",
    "raw",
    "source",
    "edited",
    "revoked",
    "deleted",
)


def message_document(it: Message) -> Document:
    """A message as a document; `v` guards its updates."""
    author = it.author
    document: Document = {
        "_id": it.id,
        "v": it.v,
        "tenant": it.tenant,
        "number": it.number_id,
        "conversation": it.conversation_id,
        "seq": it.seq,
        "direction": it.direction,
        "type": it.type,
        "received_at": it.received_at,
        "author": [author.kind, author.id, author.name],
    }
    for name in _PLAIN:
        value = getattr(it, name)
        if value:
            document[name] = value
    if it.content:
        # JSON inside BSON: Meta's own shapes hold what BSON refuses (any key, any depth, any int).
        document["content"] = orjson.dumps(it.content)
    if it.wamid_key is not None and it.wamid_key != it.id:
        document["wk"] = it.wamid_key  # an incoming message has it as its id
    if it.media is not None:
        document["media"] = _media_document(it.media)
    _add_sending(it, document)
    if it.reactions:
        document["reactions"] = [
            [r.kind, r.by, r.emoji, r.stamp.at, r.stamp.wamid] for r in it.reactions
        ]
    if it.edit_stamp is not None:
        document["edit_stamp"] = [it.edit_stamp.at, it.edit_stamp.wamid]
    if it.revoke_stamp is not None:
        document["revoke_stamp"] = [it.revoke_stamp.at, it.revoke_stamp.wamid]
    return document


def _add_sending(it: Message, document: Document) -> None:
    if it.status is not None:
        document["status"] = it.status.value
    if it.outcome is not None:
        document["outcome"] = it.outcome.value
        if it.asked_at is not None:
            document["asked_at"] = it.asked_at
    if it.error is not None:
        document["error"] = [it.error.code, it.error.title, it.error.detail]


def _line_document(line: LastLine) -> Document:
    document: Document = {
        "id": line.id,
        "seq": line.seq,
        "direction": line.direction,
        "type": line.type,
        "text": line.text,
        "at": line.at,
        "status": None if line.status is None else line.status.value,
    }
    return {**document, "revoked": True} if line.revoked else document


def message_of(doc: Document) -> Message:
    """The message of a document (or of one inside an outbox entry)."""
    error = doc.get("error")
    media = doc.get("media")
    return Message(
        id=doc["_id"],
        v=doc["v"],
        tenant=doc["tenant"],
        number_id=doc["number"],
        conversation_id=doc["conversation"],
        seq=doc["seq"],
        direction=doc["direction"],
        type=doc["type"],
        received_at=doc["received_at"],
        author=AuthorRef(*doc["author"]),
        text=doc.get("text"),
        media=None if media is None else Media(**media),
        content=orjson.loads(content) if (content := doc.get("content")) else None,
        reply_to=doc.get("reply_to"),
        reactions=tuple(
            ReactionState(kind, by, emoji, Stamp(at, wamid))
            for kind, by, emoji, at, wamid in doc.get("reactions", ())
        ),
        edited=doc.get("edited", False),
        revoked=doc.get("revoked", False),
        edit_stamp=_stamp(doc.get("edit_stamp")),
        revoke_stamp=_stamp(doc.get("revoke_stamp")),
        sent_at=doc.get("sent_at"),
        client_id=doc.get("client_id"),
        wamid=doc.get("wamid"),
        wamid_key=doc.get("wk"),
        status=_status(doc.get("status")),
        outcome=_status(doc.get("outcome")),
        attempt=doc.get("attempt", 0),
        facts=doc.get("facts"),
        earlier=doc.get("earlier"),
        error=None if error is None else SendFailure(*error),
        asked_at=doc.get("asked_at"),
        raw=doc.get("raw"),
        source=doc.get("source"),
        deleted=doc.get("deleted", False),
    )


def _stamp(value: list[Any] | None) -> Stamp | None:
    return None if value is None else Stamp(*value)


MEDIA_MEMBERS = (
    "state",
    "id",
    "whatsapp_id",
    "url",
    "mime_type",
    "size",
    "sha256",
    "filename",
    "voice",
    "width",
    "height",
    "duration_ms",
)


def _media_document(media: Media) -> Document:
    return {name: value for name in MEDIA_MEMBERS if (value := getattr(media, name)) is not None}
