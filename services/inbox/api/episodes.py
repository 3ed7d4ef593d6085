"""The openings of a conversation, as reports count them."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from services.inbox.api.bodies import Limit
from services.inbox.api.conversations import PathId, as_json
from services.inbox.api.problems import responses
from services.inbox.api.security import AnyPerson
from services.inbox.decisions.views import Names, actor_view, iso
from services.inbox.model.conversation import Conversation
from services.inbox.model.episode import Episode
from services.inbox.workflows.changing import viewer_of
from services.inbox.workflows.reading import Reading
from shared.contracts.base import Time
from shared.contracts.views import Actor, Ref


class HolderView(Ref):
    """Who held it from when to when; `until` null: still."""

    since: Time
    until: Time | None


class EpisodeView(BaseModel):
    """`waiting_seconds`: On Hold altogether. `reason`: a close reason, or a code as its id."""

    id: str
    episode: int
    team: Ref | None
    opened_at: Time
    first_response_at: Time | None
    waiting_seconds: float
    holders: list[HolderView]
    closed_at: Time | None
    closed_by: Actor | None
    reason: Ref | None


class EpisodeItems(BaseModel):
    items: list[EpisodeView]
    next_cursor: int | None


def episodes_router(reading: Reading, names: Names) -> APIRouter:
    """`GET /v1/conversations/{id}/episodes`."""
    routes = APIRouter(
        prefix="/v1/conversations",
        tags=["conversations"],
        responses=responses("unauthorized", "not_found", "validation", "unavailable"),
    )

    @routes.get("/{conversation_id}/episodes", response_model=EpisodeItems)
    async def episodes(
        person: AnyPerson,
        conversation_id: PathId,
        limit: Limit = 50,
        cursor: Annotated[int | None, Query(ge=0, le=2**62)] = None,
    ) -> Response:
        viewer = viewer_of(person)
        page = await reading.episodes(viewer, conversation_id, before=cursor, limit=limit)
        items = [
            _shown(each, page.conversation, page.reasons, names).model_dump(mode="json")
            for each in page.items
        ]
        return as_json({"items": items, "next_cursor": page.older})

    return routes


def _shown(
    it: Episode, conversation: Conversation, reasons: dict[str, str], names: Names
) -> EpisodeView:
    tenant = it.tenant
    closed_by: Any = it.closed_by and actor_view(tenant, it.closed_by, names, conversation.contact)
    holders: Any = [
        {
            "id": each.agent,
            "name": names.agent_name(tenant, each.agent),
            "since": iso(each.since),
            "until": each.until and iso(each.until),
        }
        for each in it.holders
    ]
    return EpisodeView(
        id=it.id,
        episode=it.number,
        team=None if it.team is None else Ref(id=it.team, name=names.team_name(tenant, it.team)),
        opened_at=it.opened_at,
        first_response_at=it.first_response_at,
        waiting_seconds=it.waiting.total_seconds(),
        holders=holders,
        closed_at=it.closed_at,
        closed_by=closed_by,
        reason=None if it.reason is None else Ref(id=it.reason, name=reasons.get(it.reason)),
    )
