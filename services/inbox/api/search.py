"""`GET /v1/search/messages`: what was said, within what one sees."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from services.inbox.api.bodies import Cursor, Limit
from services.inbox.api.conversations import FilterId, as_json
from services.inbox.api.problems import responses
from services.inbox.api.security import AnyPerson
from services.inbox.decisions.views import Names, conversation_view, message_view
from services.inbox.workflows.changing import viewer_of
from services.inbox.workflows.searching import Searching
from shared.contracts import views

Words = Annotated[str, Query(min_length=1, max_length=200)]


class FoundView(BaseModel):
    message: views.Message
    conversation: views.Conversation


class FoundItems(BaseModel):
    """A page may be short, even empty, though a cursor follows."""

    items: list[FoundView]
    next_cursor: str | None


def search_router(searching: Searching, names: Names) -> APIRouter:
    """`/v1/search`."""
    routes = APIRouter(
        prefix="/v1/search",
        tags=["conversations"],
        responses=responses("unauthorized", "not_found", "validation", "unavailable"),
    )

    @routes.get("/messages", response_model=FoundItems)
    async def search_messages(
        person: AnyPerson,
        q: Words,
        conversation: FilterId = None,
        limit: Limit = 20,
        cursor: Cursor = None,
    ) -> Response:
        """Messages that have every word of `q`, whatever its case and accents, newest first."""
        found = await searching.messages(
            viewer_of(person), q, conversation=conversation, limit=limit, cursor=cursor
        )
        items = [
            {
                "message": message_view(each.message, names),
                "conversation": conversation_view(each.conversation, names),
            }
            for each in found.items
        ]
        return as_json({"items": items, "next_cursor": found.next_cursor})

    return routes
