"""What our own services ask for: routing rebuilds from it after a loss."""

import base64
import binascii
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Query, Response

from services.inbox.api.bodies import Body, Cursor
from services.inbox.api.conversations import as_json
from services.inbox.api.problems import responses
from services.inbox.api.security import require_internal
from services.inbox.decisions.views import active_view
from services.inbox.model.errors import invalid
from services.inbox.storage.conversations import ConversationStore
from shared.contracts.base import Time
from shared.contracts.views import Status


class ActiveConversation(Body):
    """A conversation that is not closed, as its last event left it."""

    id: str
    tenant: str
    version: int
    status: Status
    episode: int
    epoch: int
    assignee: str | None
    team: str | None
    number: str
    waiting_since: Time | None
    held_by_agent: bool
    snoozed_until: Time | None


class ActiveConversations(Body):
    items: list[ActiveConversation]
    next_cursor: str | None


def internal_router(conversations: ConversationStore) -> APIRouter:
    """`/internal/v1`: only with ATRIO_INTERNAL_TOKEN."""
    routes = APIRouter(
        prefix="/internal/v1",
        tags=["internal"],
        dependencies=[Depends(require_internal)],
        responses=responses("unauthorized", "validation", "unavailable"),
    )

    @routes.get("/conversations", response_model=ActiveConversations)
    async def active_conversations(
        tenant: Annotated[str | None, Query(max_length=200)] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
        cursor: Cursor = None,
    ) -> Response:
        after = None if cursor is None else _decode(cursor)
        page = await conversations.active(tenant, after=after, limit=limit)
        return as_json(
            {
                "items": [active_view(each) for each in page.items],
                "next_cursor": None if page.after is None else _encode(page.after),
            }
        )

    return routes


def _encode(position: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(position)).decode()


def _decode(cursor: str) -> tuple[str, str]:
    try:
        tenant, place = orjson.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
    except (binascii.Error, ValueError, TypeError) as bad:
        raise invalid("cursor", "invalid") from bad
    if not isinstance(tenant, str) or not isinstance(place, str):
        raise invalid("cursor", "invalid")
    return tenant, place
