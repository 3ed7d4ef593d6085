"""Who may call what: the dependencies that routes name in their annotations."""

import hmac
from typing import Annotated, Final, Protocol

from fastapi import Depends, Header, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from pydantic import SecretStr

from services.inbox.api.rates import RateLimits
from services.inbox.model.api_keys import Scope
from services.inbox.model.audit import PLATFORM_ACTOR, AuditActor, act_as
from services.inbox.model.errors import RefusedError
from services.inbox.model.people import Person, TokenClaims
from shared.contracts.views import Role

_person_bearer = HTTPBearer(scheme_name="person", bearerFormat="JWT", auto_error=False)
_platform_bearer = HTTPBearer(scheme_name="platform", auto_error=False)
_internal_bearer = HTTPBearer(scheme_name="internal", auto_error=False)
BOT: Final = Scope.BOT.value
KEY_PREFIX: Final = "atk_"
Credentials = HTTPAuthorizationCredentials | None


class Recogniser(Protocol):
    """Knows people by their access tokens (`workflows.people.People`)."""

    async def recognise(self, token: str) -> Person: ...


class Admitting(Recogniser, Protocol):
    """Also judges what was proved otherwise."""

    async def admit(self, claims: TokenClaims) -> Person: ...


class Guard:
    """What the dependencies judge by; `create_api` puts it on the application's state."""

    def __init__(
        self,
        people: Admitting,
        keys: Recogniser,
        *,
        platform_token: SecretStr,
        internal_token: SecretStr | None,
        rates: RateLimits,
    ) -> None:
        self.people = people
        self.keys = keys
        self.rates = rates
        self._platform = platform_token.get_secret_value()
        self._internal = None if internal_token is None else internal_token.get_secret_value()

    def is_platform(self, token: str) -> bool:
        return _same(token, self._platform)

    def is_internal(self, token: str) -> bool:
        return self._internal is not None and _same(token, self._internal)


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode())


def _guard(request: Request) -> Guard:
    guard: Guard = request.app.state.guard
    return guard


async def current_person(
    request: Request,
    scopes: SecurityScopes,
    credentials: Annotated[Credentials, Depends(_person_bearer)],
) -> Person:
    """The caller. The scopes are the roles that are allowed, none: all; `bot`: bots too."""
    if credentials is None:
        raise RefusedError("unauthorized")
    guard = _guard(request)
    token = credentials.credentials
    by_key = token.startswith(KEY_PREFIX)
    person = await (guard.keys if by_key else guard.people).recognise(token)
    guard.rates.count(person.tenant, person.id)
    roles = [scope for scope in scopes.scopes if scope != BOT]
    if BOT not in scopes.scopes if by_key else roles and person.role.value not in roles:
        raise RefusedError("forbidden")
    act_as(AuditActor("api_key" if by_key else "agent", person.id))
    request.state.tenant = person.tenant
    request.state.agent = person.id
    return person


async def person_of_link(request: Request, claims: TokenClaims) -> Person:
    """Whom a signed address was made for, judged as their token would be now."""
    guard = _guard(request)
    person = await guard.people.admit(claims)
    guard.rates.count(person.tenant, person.id)
    request.state.tenant = person.tenant
    request.state.agent = person.id
    return person


async def require_platform(
    request: Request, credentials: Annotated[Credentials, Depends(_platform_bearer)]
) -> None:
    """Only the operator of the platform (ATRIO_PLATFORM_TOKEN)."""
    if credentials is None or not _guard(request).is_platform(credentials.credentials):
        raise RefusedError("unauthorized")
    act_as(PLATFORM_ACTOR)


async def require_internal(
    request: Request, credentials: Annotated[Credentials, Depends(_internal_bearer)]
) -> None:
    """Only our own services (ATRIO_INTERNAL_TOKEN)."""
    if credentials is None or not _guard(request).is_internal(credentials.credentials):
        raise RefusedError("unauthorized")


OptionalCredentials = Annotated[Credentials, Depends(_person_bearer)]
"""For what may be called with another proof; `current_person` judges them."""
PersonOrBot = Annotated[Person, Security(current_person, scopes=[BOT])]
AnyPerson = Annotated[Person, Security(current_person)]
SupervisorPerson = Annotated[
    Person, Security(current_person, scopes=[Role.SUPERVISOR.value, Role.ADMIN.value])
]
AdminPerson = Annotated[Person, Security(current_person, scopes=[Role.ADMIN.value])]

IdempotencyKey = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$"),
]
