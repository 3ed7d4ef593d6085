"""Signing in, and the keys that tokens are verified with."""

from typing import Any

from fastapi import APIRouter, Response

from services.inbox.api.bodies import Body, Email, Password
from services.inbox.api.problems import responses
from services.inbox.api.views import TokenView
from services.inbox.storage.keys import SigningKeys
from services.inbox.workflows.people import People

JWKS_PATH = "/.well-known/jwks.json"


class SignIn(Body):
    email: Email
    password: Password


def router(people: People, keys: SigningKeys) -> APIRouter:
    """`POST /v1/auth/token` and the JWKS."""
    routes = APIRouter(tags=["auth"])

    @routes.post(
        "/v1/auth/token", responses=responses("invalid_credentials", "validation", "unavailable")
    )
    async def sign_in(body: SignIn, response: Response) -> TokenView:
        issued = await people.sign_in(body.email, body.password)
        response.headers["cache-control"] = "no-store"
        return TokenView(access_token=issued.token, expires_in=issued.expires_in)

    @routes.get(JWKS_PATH)
    async def jwks(response: Response) -> dict[str, list[dict[str, Any]]]:
        response.headers["cache-control"] = "public, max-age=300" if keys.ready else "no-store"
        return {"keys": keys.jwks}

    return routes
