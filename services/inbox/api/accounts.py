"""What Meta told of the tenant's accounts, for the admin."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from services.inbox.api.bodies import Cursor, Items, Limit, of_moment, to_moment
from services.inbox.api.problems import responses
from services.inbox.api.security import AdminPerson
from services.inbox.model.accounts import AccountNews
from services.inbox.storage.accounts import AccountNewsStore, NewsQuery
from shared.contracts.base import Time

Word = Annotated[str | None, Query(max_length=200)]


class TemplateRefView(BaseModel):
    id: str | None
    name: str | None
    language: str | None


class AccountNewsView(BaseModel):
    """`field` and `change` are Meta's words; `details` is the rest of what it said."""

    id: str
    at: Time
    field: str
    change: str | None
    waba_id: str | None
    number_id: str | None
    contact_id: str | None
    template: TemplateRefView | None
    details: dict[str, Any]

    @classmethod
    def of(cls, news: AccountNews) -> "AccountNewsView":
        template = news.template
        return cls(
            id=news.id,
            at=news.at,
            field=news.field,
            change=news.change,
            waba_id=news.waba_id,
            number_id=news.number_id,
            contact_id=news.contact_id,
            template=None
            if template is None
            else TemplateRefView(id=template.id, name=template.name, language=template.language),
            details=news.details,
        )


def router(store: AccountNewsStore) -> APIRouter:
    """`/v1/admin/account-news`."""
    routes = APIRouter(
        prefix="/v1/admin/account-news",
        tags=["admin"],
        responses=responses("unauthorized", "forbidden", "validation", "unavailable"),
    )

    @routes.get("")
    async def list_account_news(
        person: AdminPerson,
        field: Word = None,
        number: Word = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Items[AccountNewsView]:
        """Restrictions, reviews, quality, templates, marketing preferences; the latest first."""
        items, after = await store.page(
            person.tenant, NewsQuery(field, number), after=to_moment(cursor), limit=limit
        )
        return Items(
            items=[AccountNewsView.of(news) for news in items],
            next_cursor=None if after is None else of_moment(*after),
        )

    return routes
