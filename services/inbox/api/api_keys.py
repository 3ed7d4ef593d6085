"""The API keys of a tenant, as its admin keeps them. A key's text is told once."""

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from services.inbox.api.bodies import (
    Body,
    Cursor,
    EntityId,
    Items,
    Limit,
    Line,
    from_cursor,
    to_cursor,
)
from services.inbox.api.problems import responses
from services.inbox.api.security import AdminPerson, IdempotencyKey
from services.inbox.model.api_keys import ApiKey, Scope
from services.inbox.workflows.api_keys import ApiKeys
from shared.contracts.base import Time

PathId = Annotated[str, Path(max_length=200)]


class KeyBody(Body):
    """`number_ids`: whose chats the key is for."""

    name: Line
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))] = [Scope.BOT]
    number_ids: Annotated[list[EntityId], Field(min_length=1, max_length=100)]


class KeyView(BaseModel):
    id: str
    name: str
    scopes: list[Scope]
    number_ids: list[str]
    created_at: Time
    created_by: str

    @classmethod
    def of(cls, key: ApiKey) -> "KeyView":
        return cls(
            id=key.id,
            name=key.name,
            scopes=sorted(key.scopes),
            number_ids=sorted(key.number_ids),
            created_at=key.created_at,
            created_by=key.created_by,
        )


class NewKeyView(KeyView):
    """The one answer that has the key itself: `atk_...`."""

    key: str


def router(keys: ApiKeys) -> APIRouter:
    """`/v1/admin/api-keys`."""
    routes = APIRouter(
        prefix="/v1/admin/api-keys",
        tags=["admin"],
        responses=responses("unauthorized", "forbidden", "not_found", "validation", "unavailable"),
    )

    @routes.get("")
    async def api_keys(
        person: AdminPerson, limit: Limit = 100, cursor: Cursor = None
    ) -> Items[KeyView]:
        found, after = await keys.store.page(person.tenant, limit=limit, after=from_cursor(cursor))
        return Items(items=[*map(KeyView.of, found)], next_cursor=to_cursor(after))

    @routes.post("", status_code=201)
    async def create_api_key(
        person: AdminPerson, body: KeyBody, key: IdempotencyKey = None
    ) -> NewKeyView:
        made = await keys.create(person, body.name, body.scopes, body.number_ids, key)
        return NewKeyView(**KeyView.of(made.key).model_dump(), key=made.text)

    @routes.get("/{key_id}")
    async def api_key(person: AdminPerson, key_id: PathId) -> KeyView:
        return KeyView.of(await keys.get(person.tenant, key_id))

    @routes.delete("/{key_id}", status_code=204)
    async def delete_api_key(person: AdminPerson, key_id: PathId) -> None:
        await keys.remove(person.tenant, key_id)

    return routes
