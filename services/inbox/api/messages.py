"""The messages of a conversation: the thread, and what agents send into it."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field

from services.inbox.api.bodies import Body, EntityId, Limit, YesNo
from services.inbox.api.conversations import Action, PathId, as_json, call_of
from services.inbox.api.problems import responses
from services.inbox.api.security import AnyPerson, IdempotencyKey, PersonOrBot
from services.inbox.decisions.views import Names, message_view
from services.inbox.model.errors import invalid
from services.inbox.model.outgoing import (
    MediaChoice,
    OutgoingRequest,
    OutgoingType,
    ReactionChoice,
)
from services.inbox.workflows.changing import viewer_of
from services.inbox.workflows.reading import Range, Reading
from services.inbox.workflows.sending import Sending
from shared.contracts import views

Seq = Annotated[int | None, Query(ge=0, le=2**62)]
ClientId = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$")]


class MediaBody(Body):
    id: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[0-9A-Za-z_-]+$")]
    filename: Annotated[str, Field(min_length=1)] | None = None
    voice: YesNo = False


class ReactionBody(Body):
    """An empty `emoji` takes the reaction back."""

    message_id: EntityId
    emoji: str


class Outgoing(Action):
    """`type` says which member counts; template, interactive, location, contacts as at Meta.

    `reply_to`: a message of the conversation that has a `wamid`, as WhatsApp quotes by it.
    """

    client_id: ClientId
    type: OutgoingType
    text: str | None = None
    media: MediaBody | None = None
    template: dict[str, Any] | None = None
    interactive: dict[str, Any] | None = None
    location: dict[str, Any] | None = None
    contacts: list[Any] | None = None
    reaction: ReactionBody | None = None
    reply_to: EntityId | None = None

    def request(self) -> OutgoingRequest:
        media, reaction = self.media, self.reaction
        return OutgoingRequest(
            client_id=self.client_id,
            type=self.type,
            text=self.text,
            media=MediaChoice(media.id, media.filename, media.voice) if media else None,
            template=self.template,
            interactive=self.interactive,
            location=self.location,
            contacts=self.contacts,
            reaction=ReactionChoice(reaction.message_id, reaction.emoji) if reaction else None,
            reply_to=self.reply_to,
        )


class MessagePage(Body):
    items: list[views.Message]
    next_cursor: int | None


def messages_router(reading: Reading, sending: Sending, names: Names) -> APIRouter:
    """`/v1/conversations/{id}/messages`."""
    routes = APIRouter(
        prefix="/v1/conversations/{conversation_id}/messages",
        tags=["messages"],
        responses=responses("unauthorized", "not_found", "validation", "unavailable"),
    )

    @routes.get("", response_model=MessagePage)
    async def messages(
        person: PersonOrBot,
        conversation_id: PathId,
        before: Seq = None,
        after: Seq = None,
        around: Seq = None,
        limit: Limit = 50,
    ) -> Response:
        if sum(each is not None for each in (before, after, around)) > 1:
            raise invalid("before", "not_allowed")
        where = Range(before, after, around)
        page = await reading.messages(viewer_of(person), conversation_id, where, limit=limit)
        items = [message_view(each, names) for each in page.items]
        return as_json({"items": items, "next_cursor": page.older})

    @routes.post(
        "",
        status_code=202,
        response_model=views.Message,
        responses=responses(
            "stale_epoch",
            "not_holder",
            "blocked",
            "number_deleted",
            "window_closed",
            "unknown_media",
            "unknown_template",
            "template_unavailable",
        ),
    )
    async def send_message(
        person: PersonOrBot, conversation_id: PathId, body: Outgoing, key: IdempotencyKey = None
    ) -> Response:
        call = call_of(person, conversation_id, body, key)
        return as_json(message_view(await sending.send(call, body.request()), names), 202)

    @routes.post(
        "/{message_id}/resend",
        status_code=202,
        response_model=views.Message,
        responses=responses(
            "stale_epoch",
            "not_holder",
            "blocked",
            "number_deleted",
            "window_closed",
            "invalid_transition",
        ),
    )
    async def resend_message(
        person: AnyPerson,
        conversation_id: PathId,
        message_id: PathId,
        body: Action | None = None,
        key: IdempotencyKey = None,
    ) -> Response:
        call = call_of(person, conversation_id, body, key)
        return as_json(message_view(await sending.resend(call, message_id), names), 202)

    @routes.post(
        "/{message_id}/discard",
        response_model=views.Message,
        responses=responses("stale_epoch", "not_holder", "invalid_transition"),
    )
    async def discard_message(
        person: AnyPerson,
        conversation_id: PathId,
        message_id: PathId,
        body: Action | None = None,
        key: IdempotencyKey = None,
    ) -> Response:
        call = call_of(person, conversation_id, body, key)
        return as_json(message_view(await sending.discard(call, message_id), names))

    return routes
