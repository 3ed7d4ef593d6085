"""One's own password and sessions, and those of the tenant's agents for its admin."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from services.inbox.api.auth import CallerOf, CookieWanted, answer
from services.inbox.api.bodies import Body, Items, Password
from services.inbox.api.problems import responses
from services.inbox.api.security import AdminPerson, AnyPerson
from services.inbox.api.views import SessionView, TokenView
from services.inbox.workflows.sessions import Sessions
from services.inbox.workflows.signing_in import SigningIn

PathId = Annotated[str, Path(max_length=200)]


class NewPassword(Body):
    current: Password
    new: Password


def own_router(signing_in: SigningIn, sessions: Sessions) -> APIRouter:
    """`/v1/me/password` and `/v1/me/sessions`."""
    routes = APIRouter(
        prefix="/v1/me",
        tags=["people"],
        responses=responses("unauthorized", "validation", "unavailable"),
    )

    @routes.put("/password", responses=responses("locked_out"))
    async def change_password(
        person: AnyPerson,
        body: NewPassword,
        response: Response,
        caller: CallerOf,
        *,
        cookie: CookieWanted = False,
    ) -> TokenView:
        """Every session ends; the answer is a new one."""
        signed = await signing_in.change_password(person, body.current, body.new, caller)
        return answer(signed, response, cookie=cookie)

    @routes.get("/sessions")
    async def own_sessions(person: AnyPerson) -> Items[SessionView]:
        found = await sessions.of(person.tenant, person.id)
        return Items(items=[SessionView.of(each, person.session) for each in found])

    @routes.delete("/sessions/{session_id}", status_code=204, responses=responses("not_found"))
    async def end_own_session(person: AnyPerson, session_id: PathId) -> None:
        await sessions.end(person.tenant, person.id, session_id)

    return routes


def admin_router(sessions: Sessions) -> APIRouter:
    """`/v1/admin/agents/{id}/sessions`."""
    routes = APIRouter(
        prefix="/v1/admin/agents/{agent_id}/sessions",
        tags=["admin"],
        responses=responses("unauthorized", "forbidden", "not_found", "validation", "unavailable"),
    )

    @routes.get("")
    async def sessions_of(person: AdminPerson, agent_id: PathId) -> Items[SessionView]:
        found = await sessions.of(person.tenant, agent_id)
        return Items(items=[SessionView.of(each, person.session) for each in found])

    @routes.delete("/{session_id}", status_code=204)
    async def end_session(person: AdminPerson, agent_id: PathId, session_id: PathId) -> None:
        await sessions.end(person.tenant, agent_id, session_id)

    return routes
