"""Oneself, and who and what there is in one's tenant."""

from fastapi import APIRouter

from services.inbox.api.bodies import Body, Cursor, Items, Limit, YesNo, from_cursor, to_cursor
from services.inbox.api.problems import responses
from services.inbox.api.security import AnyPerson, PersonOrBot
from services.inbox.api.views import ColleagueView, LabelView, MeView, TeamView
from services.inbox.model.entities import Agent, Label, Team
from services.inbox.storage.directory import DirectoryStore
from services.inbox.workflows.people import People


class Availability(Body):
    available: YesNo


def router(people: People, directory: DirectoryStore) -> APIRouter:
    """`/v1/me` and the lists that everybody of the tenant may read."""
    routes = APIRouter(
        prefix="/v1",
        tags=["people"],
        responses=responses("unauthorized", "validation", "unavailable"),
    )

    @routes.get("/me")
    async def me(person: AnyPerson) -> MeView:
        return MeView.of(await people.me(person), directory.view)

    @routes.put("/me/availability")
    async def set_availability(person: AnyPerson, body: Availability) -> MeView:
        agent = await people.set_availability(person, available=body.available)
        return MeView.of(agent, directory.view)

    @routes.get("/agents")
    async def agents(
        person: AnyPerson, limit: Limit = 100, cursor: Cursor = None
    ) -> Items[ColleagueView]:
        page = await directory.page(Agent, person.tenant, limit=limit, after=from_cursor(cursor))
        return Items(items=[*map(ColleagueView.of, page.items)], next_cursor=to_cursor(page.after))

    @routes.get("/teams")
    async def teams(
        person: PersonOrBot, limit: Limit = 100, cursor: Cursor = None
    ) -> Items[TeamView]:
        page = await directory.page(Team, person.tenant, limit=limit, after=from_cursor(cursor))
        return Items(items=[*map(TeamView.of, page.items)], next_cursor=to_cursor(page.after))

    @routes.get("/labels")
    async def labels(
        person: PersonOrBot, limit: Limit = 100, cursor: Cursor = None
    ) -> Items[LabelView]:
        page = await directory.page(Label, person.tenant, limit=limit, after=from_cursor(cursor))
        return Items(items=[*map(LabelView.of, page.items)], next_cursor=to_cursor(page.after))

    return routes
