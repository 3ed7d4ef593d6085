"""`/v1/me/mentions`: the notes in which one is named."""

from fastapi import APIRouter, Response
from pydantic import BaseModel

from services.inbox.api.bodies import Body, Cursor, Limit, Moment
from services.inbox.api.conversations import as_json, line_view
from services.inbox.api.problems import responses
from services.inbox.api.security import AnyPerson
from services.inbox.decisions.views import Names, conversation_view
from services.inbox.workflows.changing import viewer_of
from services.inbox.workflows.mentions import Mentions
from shared.contracts import views
from shared.contracts.base import Time


class MentionView(BaseModel):
    """`unread`: newer than what `PUT .../seen` said last."""

    activity: views.Activity
    conversation: views.Conversation
    unread: bool


class MentionItems(BaseModel):
    """A page may be short, even empty, though a cursor follows."""

    items: list[MentionView]
    next_cursor: str | None


class Seen(Body):
    until: Moment


class SeenUntil(BaseModel):
    seen_until: Time


def mentions_router(mentions: Mentions, names: Names) -> APIRouter:
    """One's own mentions."""
    routes = APIRouter(
        prefix="/v1/me/mentions",
        tags=["conversations"],
        responses=responses("unauthorized", "validation", "unavailable"),
    )

    @routes.get("", response_model=MentionItems)
    async def my_mentions(person: AnyPerson, limit: Limit = 20, cursor: Cursor = None) -> Response:
        """Notes that name one, in chats that one sees now, newest first."""
        page = await mentions.page(viewer_of(person), limit=limit, cursor=cursor)
        items = [
            {
                "activity": line_view(person.tenant, each.line, names, each.conversation.contact),
                "conversation": conversation_view(each.conversation, names),
                "unread": each.unread,
            }
            for each in page.items
        ]
        return as_json({"items": items, "next_cursor": page.next_cursor})

    @routes.put("/seen")
    async def see_mentions(person: AnyPerson, body: Seen) -> SeenUntil:
        """One has looked at them until then: at most until now, and never less than before."""
        return SeenUntil(seen_until=await mentions.see(viewer_of(person), body.until))

    return routes
