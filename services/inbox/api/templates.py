"""Message templates: what agents may send outside the window."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel

from services.inbox.api.bodies import Cursor, EntityId, Items, Limit, from_cursor, to_cursor
from services.inbox.api.problems import responses
from services.inbox.api.security import AdminPerson, AnyPerson
from services.inbox.decisions.templates import slots
from services.inbox.model.channels import Template, TemplateQuery
from services.inbox.workflows.syncing import Syncing
from services.inbox.workflows.templates import TemplateBook

Word = Annotated[str | None, Query(min_length=1, max_length=512)]
NumberId = Annotated[EntityId | None, Query()]


class WantedView(BaseModel):
    """A component that wants parameters: `component` is `header`, `body` or `button.<index>`.

    `kind` is the parameters' type; `names` are their names, or positions from 1.
    """

    component: str
    kind: str
    names: list[str]


class TemplateView(BaseModel):
    """A template as Meta has it; `status` and `category` are Meta's words."""

    id: str
    waba_id: str
    name: str
    language: str
    category: str
    status: str
    quality: str | None
    rejected_reason: str | None
    components: list[dict[str, Any]]
    parameters: list[WantedView]

    @classmethod
    def of(cls, template: Template) -> "TemplateView":
        return cls(
            id=template.id,
            waba_id=template.waba_id,
            name=template.name,
            language=template.language,
            category=template.category,
            status=template.status,
            quality=template.quality,
            rejected_reason=template.reason,
            components=list(template.components),
            parameters=[
                WantedView(component=slot.place, kind=slot.kind, names=list(slot.names))
                for slot in slots(template)
            ],
        )


def templates_router(book: TemplateBook, syncing: Syncing) -> APIRouter:
    """`/v1/templates`, and the admin's wish to have them read now."""
    routes = APIRouter(
        tags=["templates"],
        responses=responses("unauthorized", "validation", "unavailable"),
    )

    @routes.get("/v1/templates")
    async def templates(
        person: AnyPerson,
        number: NumberId = None,
        language: Word = None,
        category: Word = None,
        status: Word = None,
        q: Word = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Items[TemplateView]:
        query = TemplateQuery(language=language, category=category, status=status, q=q)
        found, after = await book.page(
            person.tenant, query, number_id=number, limit=limit, after=from_cursor(cursor)
        )
        return Items(items=[*map(TemplateView.of, found)], next_cursor=to_cursor(after))

    @routes.post(
        "/v1/admin/numbers/{number_id}/templates/sync",
        status_code=202,
        responses=responses("forbidden", "not_found"),
    )
    async def sync_templates(
        person: AdminPerson, number_id: Annotated[str, Path(max_length=200)]
    ) -> dict[str, str]:
        await syncing.ask(person.tenant, number_id)
        return {"status": "asked"}

    return routes
