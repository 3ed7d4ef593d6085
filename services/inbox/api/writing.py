"""What helps to write: drafts, the tenant's canned replies, "typing" at the customer's."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from services.inbox.api.bodies import (
    Body,
    Cursor,
    EntityId,
    Items,
    Limit,
    Line,
    from_cursor,
    patch_of,
    to_cursor,
)
from services.inbox.api.conversations import Action, PathId, call_of, encodable
from services.inbox.api.problems import responses
from services.inbox.api.security import AdminPerson, AnyPerson, IdempotencyKey, PersonOrBot
from services.inbox.model.catalogue import CannedReply
from services.inbox.workflows.catalogue import Catalogue
from services.inbox.workflows.changing import viewer_of
from services.inbox.workflows.typing_indicator import TypingIndicator
from services.inbox.workflows.writing import Writing, check_variables
from shared.contracts.base import Time

TEXT_LENGTH = 4096
"""Of a text message (Meta, Cloud API, text messages)."""
Text = Annotated[str, Field(min_length=1, max_length=TEXT_LENGTH), AfterValidator(encodable)]
Shortcut = Annotated[str, StringConstraints(min_length=1, max_length=32, pattern=r"^[0-9a-z_-]+$")]
Q = Annotated[str | None, Query(max_length=100)]


class DraftBody(Body):
    text: Text
    reply_to: EntityId | None = None


class DraftView(BaseModel):
    """`updated_at` null: there is none."""

    text: str = ""
    reply_to: str | None = None
    updated_at: Time | None = None


class ReplyBody(Body):
    """`{{contact.name}}`, `{{agent.name}}` and the like are filled in when it is used."""

    name: Line
    text: Text
    shortcut: Shortcut | None = None


class ReplyChange(Body):
    name: Line = ""
    text: Text = ""
    shortcut: Shortcut | None = None


class ReplyView(BaseModel):
    id: str
    name: str
    text: str
    shortcut: str | None
    version: int

    @classmethod
    def of(cls, reply: CannedReply) -> "ReplyView":
        return cls(
            id=reply.id,
            name=reply.name,
            text=reply.text,
            shortcut=reply.shortcut,
            version=reply.version,
        )


class RenderedView(BaseModel):
    """`missing` names the variables that had nothing to show."""

    text: str
    missing: list[str]


def writing_router(writing: Writing, typing: TypingIndicator) -> APIRouter:
    """`/v1/canned-replies`; drafts, filled in replies, typing under `/v1/conversations/{id}`."""
    routes = APIRouter(
        prefix="/v1",
        tags=["conversations"],
        responses=responses("unauthorized", "validation", "unavailable"),
    )
    own = responses("not_found")

    @routes.get("/conversations/{conversation_id}/draft", responses=own)
    async def draft(person: AnyPerson, conversation_id: PathId) -> DraftView:
        found = await writing.draft(viewer_of(person), conversation_id)
        if found is None:
            return DraftView()
        return DraftView(text=found.text, reply_to=found.reply_to, updated_at=found.updated_at)

    @routes.put("/conversations/{conversation_id}/draft", responses=own)
    async def keep_draft(person: AnyPerson, conversation_id: PathId, body: DraftBody) -> DraftView:
        viewer = viewer_of(person)
        kept = await writing.keep_draft(viewer, conversation_id, body.text, body.reply_to)
        return DraftView(text=kept.text, reply_to=kept.reply_to, updated_at=kept.updated_at)

    @routes.delete("/conversations/{conversation_id}/draft", status_code=204)
    async def drop_draft(person: AnyPerson, conversation_id: PathId) -> Response:
        await writing.drop_draft(viewer_of(person), conversation_id)
        return Response(status_code=204)

    @routes.post(
        "/conversations/{conversation_id}/typing",
        status_code=204,
        responses=responses("not_found", "stale_epoch", "not_holder", "blocked", "window_closed"),
    )
    async def show_typing(
        person: PersonOrBot, conversation_id: PathId, body: Action | None = None
    ) -> Response:
        await typing.show(call_of(person, conversation_id, body, None))
        return Response(status_code=204)

    @routes.get("/canned-replies")
    async def canned_replies(
        person: AnyPerson, q: Q = None, limit: Limit = 100, cursor: Cursor = None
    ) -> Items[ReplyView]:
        after = from_cursor(cursor)
        page = await writing.replies(person.tenant, q, limit=limit, after=after)
        items = [ReplyView.of(each) for each in page.items]
        return Items(items=items, next_cursor=to_cursor(page.after))

    @routes.post("/conversations/{conversation_id}/canned-replies/{reply_id}/render", responses=own)
    async def render_canned_reply(
        person: AnyPerson, conversation_id: PathId, reply_id: PathId
    ) -> RenderedView:
        filled = await writing.fill_in(viewer_of(person), conversation_id, reply_id)
        return RenderedView(text=filled.text, missing=list(filled.missing))

    return routes


def canned_replies_router(catalogue: Catalogue) -> APIRouter:
    """`/v1/admin/canned-replies`."""
    routes = APIRouter(
        prefix="/v1/admin/canned-replies",
        tags=["admin"],
        responses=responses("unauthorized", "forbidden", "not_found", "validation", "unavailable"),
    )

    @routes.get("")
    async def canned_replies_page(
        person: AdminPerson, limit: Limit = 100, cursor: Cursor = None
    ) -> Items[ReplyView]:
        after = from_cursor(cursor)
        page = await catalogue.page(CannedReply, person.tenant, limit=limit, after=after)
        items = [ReplyView.of(each) for each in page.items]
        return Items(items=items, next_cursor=to_cursor(page.after))

    @routes.post("", status_code=201)
    async def create_canned_reply(
        person: AdminPerson, body: ReplyBody, key: IdempotencyKey = None
    ) -> ReplyView:
        check_variables(body.text)
        made = await catalogue.create_reply(person.tenant, body.name, body.text, body.shortcut, key)
        return ReplyView.of(made)

    @routes.get("/{reply_id}")
    async def canned_reply(person: AdminPerson, reply_id: PathId) -> ReplyView:
        return ReplyView.of(await catalogue.get(CannedReply, person.tenant, reply_id))

    @routes.patch("/{reply_id}")
    async def change_canned_reply(
        person: AdminPerson, reply_id: PathId, body: ReplyChange
    ) -> ReplyView:
        check_variables(body.text)
        changed = await catalogue.change(CannedReply, person.tenant, reply_id, patch_of(body))
        return ReplyView.of(changed)

    @routes.delete("/{reply_id}", status_code=204)
    async def delete_canned_reply(person: AdminPerson, reply_id: PathId) -> None:
        await catalogue.delete(CannedReply, person.tenant, reply_id)

    return routes
