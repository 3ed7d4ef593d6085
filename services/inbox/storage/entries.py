"""Renders emitted events into entries of the head-of-log: record, documents, commands."""

from __future__ import annotations

import orjson

from services.inbox.decisions.bots import tells_bot
from services.inbox.decisions.episodes import ended_episode
from services.inbox.decisions.views import (
    Names,
    activity_data,
    activity_id,
    event_view,
    iso,
    logged,
)
from services.inbox.model.audit import AuditActor, AuditRecord
from services.inbox.model.events import Emitted
from services.inbox.storage.audit import audit_effects
from services.inbox.storage.documents import MEDIA_MEMBERS, message_document
from services.inbox.storage.episode_documents import EPISODES, episode_document
from shared.contracts import topics
from shared.contracts.commands import CommandType
from shared.contracts.envelope import Envelope
from shared.mongo.headlog import DocumentWrite, Entry, Insert, LogRecord, PatchAll, Put

CONVERSATIONS = "conversations"
MESSAGES = "messages"
ACTIVITIES = "activities"
ERASURES = "erasures"
SOURCE = "inbox"

_ERASED = (
    "text",
    "content",
    # Its id and digest stay until the stub goes: the eraser of files goes by them.
    *(f"media.{name}" for name in MEDIA_MEMBERS if name not in {"state", "id", "sha256"}),
    "raw",
    "reactions",
    "facts",
    "earlier",
    "error",
    "author.2",
    "edit_stamp",
    "revoke_stamp",
    "wamid",
    "sent_at",
    "reply_to",
)


def render(event: Emitted, names: Names) -> Entry:
    """Everything that the event does, as it will be stored and repeated byte for byte."""
    conversation = event.conversation
    version = conversation.version
    time = iso(event.at)
    ce_id = f"{conversation.id}:{version}"
    value = orjson.dumps(event_view(event, names))
    record = LogRecord(
        topic=topics.CONVERSATION_EVENTS,
        key=conversation.id,
        value=value,
        envelope=Envelope(
            id=ce_id,
            type=event.type.value,
            source=SOURCE,
            time=time,
            tenant=conversation.tenant,
            subject=conversation.id,
            sequence=version,
        ),
    )
    commands = [(command.type, orjson.dumps(command.payload)) for command in event.commands]
    if tells_bot(event):
        commands.append((CommandType.BOT_NOTIFY, _notice(event, value)))
    return Entry(
        version=version,
        events=(record,),
        documents=tuple(_documents(event, names)),
        commands=tuple(
            LogRecord(
                topic=topics.OUTBOUND,
                key=conversation.id,
                value=payload,
                envelope=Envelope(
                    id=f"{ce_id}:{position}",
                    type=kind.value,
                    source=SOURCE,
                    time=time,
                    tenant=conversation.tenant,
                    subject=conversation.id,
                    sequence=version,
                ),
            )
            for position, (kind, payload) in enumerate(commands)
        ),
    )


def _deletion(event: Emitted) -> AuditRecord:
    conversation = event.conversation
    return AuditRecord(
        id=f"conversation:{conversation.id}:{conversation.version}",
        tenant=conversation.tenant,
        at=event.at,
        actor=AuditActor(event.actor.kind.value, event.actor.id),
        action="conversation.deleted",
        target=("conversation", conversation.id),
        before={"status": None if event.before.status is None else event.before.status.value},
    )


def _documents(event: Emitted, names: Names) -> list[DocumentWrite]:
    conversation = event.conversation
    documents: list[DocumentWrite] = []
    if event.message is not None:
        document = message_document(event.message)
        kind = Insert if event.created else Put
        documents.append(kind(MESSAGES, document))
    if logged(event):
        documents.append(
            Insert(
                ACTIVITIES,
                {
                    "_id": activity_id(conversation.id, conversation.version),
                    "v": conversation.version,
                    "tenant": conversation.tenant,
                    "conversation": conversation.id,
                    "type": event.type.value,
                    "at": event.at,
                    "actor": [event.actor.kind.value, event.actor.id],
                    "data": activity_data(event, names),
                },
            )
        )
    episode = ended_episode(event)
    if episode is not None:
        documents.append(Insert(EPISODES, episode_document(episode, conversation.version)))
    if event.erases_messages:
        documents.extend(audit_effects([_deletion(event)]))
        documents.append(
            Insert(
                ERASURES,
                {
                    "_id": f"{conversation.id}:{conversation.version}",
                    "v": conversation.version,
                    "tenant": conversation.tenant,
                    "conversation": conversation.id,
                    "round": 0,
                    "at": event.at,
                    "due_at": event.at,
                },
            )
        )
        documents.append(
            PatchAll(
                MESSAGES,
                {"tenant": conversation.tenant, "conversation": conversation.id},
                conversation.version,
                {"deleted": True, "deleted_at": event.at},
                _ERASED,
            )
        )
        documents.append(
            PatchAll(
                ACTIVITIES,
                {"tenant": conversation.tenant, "conversation": conversation.id},
                conversation.version,
                {"erased": True},
                ("data.text", "data.note"),
            )
        )
    return documents


def _notice(event: Emitted, data: bytes) -> bytes:
    """The `bot.notify` of an event, with the event's own payload inside."""
    conversation = event.conversation
    return orjson.dumps(
        {
            "conversation_id": conversation.id,
            "number_id": conversation.number_id,
            "epoch": conversation.epoch,
            "version": conversation.version,
            "type": event.type.value,
            "at": iso(event.at),
            "data": orjson.Fragment(data),
        }
    )
