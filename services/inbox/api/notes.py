"""What agents do with a chat among themselves: notes, priority, snoozing."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import AfterValidator, Field

from services.inbox.api.bodies import EntityId, Moment, YesNo
from services.inbox.api.conversations import (
    Action,
    PathId,
    as_json,
    call_of,
    conversation_answer,
    encodable,
    line_view,
)
from services.inbox.api.etags import IfMatch
from services.inbox.api.messages import ClientId
from services.inbox.api.problems import responses
from services.inbox.api.security import AnyPerson, IdempotencyKey
from services.inbox.decisions.views import Names
from services.inbox.model.conversation import Conversation
from services.inbox.workflows.notes import Note, Notes
from shared.contracts import views
from shared.contracts.views import Priority

NOTE_LENGTH = 4096


def _whole_milliseconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


NoteText = Annotated[str, Field(min_length=1, max_length=NOTE_LENGTH), AfterValidator(encodable)]
Until = Annotated[Moment, AfterValidator(_whole_milliseconds)]


class NoteBody(Action):
    """The same `client_id` again: the same note. `whisper`: only the holder is to read it."""

    client_id: ClientId
    text: NoteText
    mentions: Annotated[list[EntityId], Field(max_length=20)] = []
    whisper: YesNo = False


class PriorityBody(Action):
    priority: Priority


class SnoozeBody(Action):
    until: Until


def notes_router(notes: Notes, names: Names) -> APIRouter:
    """`/v1/conversations/{id}/notes`, `/priority`, `/snooze`."""
    routes = APIRouter(
        prefix="/v1/conversations/{conversation_id}",
        tags=["conversations"],
        responses=responses("unauthorized", "not_found", "validation", "unavailable"),
    )

    def shown(conversation: Conversation) -> Response:
        return conversation_answer(conversation, names)

    @routes.post(
        "/notes",
        status_code=201,
        response_model=views.Activity,
        responses=responses("stale_epoch", "forbidden", "invalid_transition", "unknown_agent"),
    )
    async def add_note(person: AnyPerson, conversation_id: PathId, body: NoteBody) -> Response:
        call = call_of(person, conversation_id, body, body.client_id)
        noted = await notes.add(call, Note(body.text, body.mentions, body.whisper))
        return as_json(line_view(person.tenant, noted.line, names, noted.contact), 201)

    @routes.put(
        "/priority",
        response_model=views.Conversation,
        responses=responses("stale_epoch", "version_mismatch", "not_holder"),
    )
    async def set_priority(
        person: AnyPerson,
        conversation_id: PathId,
        body: PriorityBody,
        key: IdempotencyKey = None,
        match: IfMatch = None,
    ) -> Response:
        call = call_of(person, conversation_id, body, key, match)
        return shown(await notes.set_priority(call, body.priority))

    @routes.put(
        "/snooze",
        response_model=views.Conversation,
        responses=responses("stale_epoch", "version_mismatch", "not_holder", "invalid_transition"),
    )
    async def snooze_conversation(
        person: AnyPerson,
        conversation_id: PathId,
        body: SnoozeBody,
        key: IdempotencyKey = None,
        match: IfMatch = None,
    ) -> Response:
        call = call_of(person, conversation_id, body, key, match)
        return shown(await notes.snooze(call, body.until))

    @routes.delete(
        "/snooze",
        response_model=views.Conversation,
        responses=responses("stale_epoch", "version_mismatch", "not_holder"),
    )
    async def wake_conversation(
        person: AnyPerson,
        conversation_id: PathId,
        body: Action | None = None,
        key: IdempotencyKey = None,
        match: IfMatch = None,
    ) -> Response:
        return shown(await notes.wake(call_of(person, conversation_id, body, key, match)))

    return routes
