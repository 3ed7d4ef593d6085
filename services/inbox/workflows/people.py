"""Signing in, being recognised, and one's own switch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from services.inbox.decisions.access import Denied, admit
from services.inbox.model.entities import Agent, Tenant
from services.inbox.model.errors import RefusedError
from services.inbox.model.people import AccessToken, Person, TokenClaims
from services.inbox.storage.claims import Claims
from services.inbox.storage.directory import DirectoryStore
from services.inbox.storage.keys import SigningKeys, TokenError
from services.inbox.storage.passwords import Passwords

AUDIENCE = "atrio"
STREAM_AUDIENCE = "atrio-stream"


class People:
    """Everything that people do about themselves."""

    def __init__(
        self,
        directory: DirectoryStore,
        claims: Claims,
        keys: SigningKeys,
        passwords: Passwords,
        *,
        token_life: timedelta,
        ticket_life: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        self._directory = directory
        self._view = directory.view
        self._claims = claims
        self._keys = keys
        self._passwords = passwords
        self._token_life = token_life
        self._ticket_life = ticket_life
        self._clock = clock

    async def sign_in(self, email: str, password: str) -> AccessToken:
        """A token for an agent of an active tenant. Refuses with `invalid_credentials`."""
        owner = await self._claims.owner("email", email)
        agent = None if owner is None else await self._directory.find_any(Agent, owner)
        if agent is not None and agent.email != email:
            agent = None
        stored = None if agent is None else agent.password_hash
        matches = await self._passwords.verify(stored, password)
        if agent is None or not matches:
            raise RefusedError("invalid_credentials")
        tenant = await self._directory.find(Tenant, agent.tenant, agent.tenant)
        if tenant is None or tenant.status != "active":
            raise RefusedError("invalid_credentials")
        claims = {"sub": agent.id, "tenant": agent.tenant, "role": agent.role.value}
        return self._signed(claims, AUDIENCE, self._token_life)

    def ticket(self, person: Person) -> AccessToken:
        """A ticket for the stream; notifier lets each `jti` in once."""
        claims = {"sub": person.id, "tenant": person.tenant, "role": person.role.value}
        return self._signed(claims, STREAM_AUDIENCE, self._ticket_life)

    def _signed(self, claims: dict[str, str], audience: str, life: timedelta) -> AccessToken:
        token = self._keys.sign(claims, audience=audience, life=life)
        return AccessToken(token, int(life.total_seconds()))

    async def recognise(self, token: str) -> Person:
        """The person of an access token, as of now. Refuses with `unauthorized`."""
        try:
            found = self._keys.verify(token, audience=AUDIENCE)
        except TokenError as bad:
            raise RefusedError("unauthorized") from bad
        claims = _claims(found.get("sub"), found.get("tenant"), found.get("iat"))
        agent = self._view.agent(claims.tenant, claims.agent_id)
        if agent is None:  # created on another pod a moment ago, or not there
            await self._directory.find(Agent, claims.tenant, claims.agent_id)
            agent = self._view.agent(claims.tenant, claims.agent_id)
        tenant = self._view.tenant(claims.tenant)
        if tenant is None:
            await self._directory.find(Tenant, claims.tenant, claims.tenant)
            tenant = self._view.tenant(claims.tenant)
        admitted = admit(claims, agent, tenant)
        if isinstance(admitted, Denied):
            raise RefusedError("unauthorized")
        return admitted

    async def me(self, person: Person) -> Agent:
        return await self._directory.get(Agent, person.tenant, person.id)

    async def set_availability(self, person: Person, *, available: bool) -> Agent:
        """Changes one's own switch; tells it on agent.events.v1 in the same write."""
        return await self._directory.change(
            Agent, person.tenant, person.id, lambda agent: replace(agent, available=available)
        )


def _claims(agent_id: object, tenant: object, issued_at: object) -> TokenClaims:
    match agent_id, tenant, issued_at:
        case str(), str(), int() | float():
            issued = datetime.fromtimestamp(round(issued_at, 3), UTC)
            return TokenClaims(agent_id, tenant, issued)
        case _:
            raise RefusedError("unauthorized")
