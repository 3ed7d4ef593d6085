"""Signing in and out, keeping a session up, and the keys that tokens are verified with."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Cookie, Depends, Query, Request, Response
from pydantic import Field

from services.inbox.api.bodies import Body, Email, Password, YesNo
from services.inbox.api.problems import responses
from services.inbox.api.views import TokenView
from services.inbox.model.errors import RefusedError
from services.inbox.storage.keys import SigningKeys
from services.inbox.workflows.people import People
from services.inbox.workflows.sessions import Sessions, SignedIn
from services.inbox.workflows.signing_in import Caller, SigningIn

JWKS_PATH = "/.well-known/jwks.json"
COOKIE: Final = "atrio_refresh"
_COOKIE_PATH: Final = "/v1/auth"
_CLIENT_LENGTH = 200

RefreshCookie = Annotated[str | None, Cookie(alias=COOKIE, max_length=200)]
CookieWanted = Annotated[bool, Query(alias="cookie")]


class SignIn(Body):
    """`cookie`: the refresh token comes as a cookie that no script can read."""

    email: Email
    password: Password
    cookie: YesNo = False


class Refresh(Body):
    """Without `refresh_token` the cookie is meant."""

    refresh_token: Annotated[str, Field(max_length=200)] | None = None


def caller_of(request: Request) -> Caller:
    """Where a request comes from (behind a proxy, what uvicorn trusts it to say)."""
    address = "" if request.client is None else request.client.host
    agent = request.headers.get("user-agent", "")
    shown = "".join(each for each in agent if each.isprintable())
    return Caller(address, shown[:_CLIENT_LENGTH])


CallerOf = Annotated[Caller, Depends(caller_of)]


def answer(signed: SignedIn, response: Response, *, cookie: bool) -> TokenView:
    """Both tokens; the refresh token in the body or in the cookie, never in both."""
    response.headers["cache-control"] = "no-store"
    token = signed.refresh.text()
    if cookie:
        response.set_cookie(
            COOKIE,
            token,
            max_age=signed.refresh_expires_in,
            path=_COOKIE_PATH,
            secure=True,
            httponly=True,
            samesite="strict",
        )
    return TokenView(
        access_token=signed.access.token,
        expires_in=signed.access.expires_in,
        refresh_token=None if cookie else token,
    )


def router(
    people: People, signing_in: SigningIn, sessions: Sessions, keys: SigningKeys
) -> APIRouter:
    """`/v1/auth/*` and the JWKS."""
    routes = APIRouter(tags=["auth"])

    @routes.post(
        "/v1/auth/token",
        responses=responses("invalid_credentials", "validation", "locked_out", "unavailable"),
    )
    async def sign_in(
        body: SignIn, response: Response, caller: CallerOf, *, cookie: CookieWanted = False
    ) -> TokenView:
        signed = await signing_in.sign_in(body.email, body.password, caller)
        return answer(signed, response, cookie=cookie or body.cookie)

    @routes.post(
        "/v1/auth/refresh", responses=responses("session_over", "validation", "unavailable")
    )
    async def refresh(
        response: Response, body: Refresh | None = None, held: RefreshCookie = None
    ) -> TokenView:
        given = None if body is None else body.refresh_token
        token = given or held
        if token is None:
            raise RefusedError("session_over")
        return answer(await sessions.refresh(token), response, cookie=given is None)

    @routes.post(
        "/v1/auth/logout", status_code=204, responses=responses("validation", "unavailable")
    )
    async def log_out(
        request: Request,
        response: Response,
        body: Refresh | None = None,
        held: RefreshCookie = None,
    ) -> None:
        """Ends the session of the refresh token, else of the access token; always 204."""
        token = (None if body is None else body.refresh_token) or held
        if token is not None:
            await sessions.end_by_token(token)
        else:
            await _end_by_bearer(people, sessions, request.headers)
        if held is not None:
            response.delete_cookie(
                COOKIE, path=_COOKIE_PATH, secure=True, httponly=True, samesite="strict"
            )

    @routes.get(JWKS_PATH)
    async def jwks(response: Response) -> dict[str, list[dict[str, Any]]]:
        response.headers["cache-control"] = "public, max-age=300" if keys.ready else "no-store"
        return {"keys": keys.jwks}

    return routes


async def _end_by_bearer(people: People, sessions: Sessions, headers: Mapping[str, str]) -> None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return
    try:
        await sessions.leave(await people.recognise(token))
    except RefusedError:
        return  # what is over already needs no end
