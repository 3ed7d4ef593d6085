"""Tickets for the stream, for clients that cannot send headers."""

from fastapi import APIRouter, Response

from services.inbox.api.problems import responses
from services.inbox.api.security import AnyPerson
from services.inbox.api.views import TicketView
from services.inbox.workflows.people import People


def router(people: People) -> APIRouter:
    """`POST /v1/stream/ticket`."""
    routes = APIRouter(
        prefix="/v1/stream", tags=["stream"], responses=responses("unauthorized", "unavailable")
    )

    @routes.post("/ticket")
    async def ticket(person: AnyPerson, response: Response) -> TicketView:
        issued = people.ticket(person)
        response.headers["cache-control"] = "no-store"
        return TicketView(ticket=issued.token, expires_in=issued.expires_in)

    return routes
