"""Being recognised, and one's own switch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from services.inbox.decisions.access import Denied, admit
from services.inbox.model.entities import Agent, Tenant
from services.inbox.model.errors import RefusedError
from services.inbox.model.people import AccessToken, Person, TokenClaims
from services.inbox.storage.directory import DirectoryStore
from services.inbox.storage.keys import SigningKeys, TokenError

AUDIENCE = "atrio"
STREAM_AUDIENCE = "atrio-stream"


class People:
    """Everything that people do about themselves."""

    def __init__(
        self,
        directory: DirectoryStore,
        keys: SigningKeys,
        *,
        token_life: timedelta,
        ticket_life: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        self._directory = directory
        self._view = directory.view
        self._keys = keys
        self._token_life = token_life
        self._ticket_life = ticket_life
        self._clock = clock

    def access_token(self, agent: Agent, session: str, at: datetime) -> AccessToken:
        """A token of one of the agent's sessions. `at` is before the agent was read."""
        claims = {
            "sub": agent.id,
            "tenant": agent.tenant,
            "role": agent.role.value,
            "sid": session,
        }
        return self._signed(claims, AUDIENCE, self._token_life, at)

    def ticket(self, person: Person) -> AccessToken:
        """A ticket for the stream; notifier lets each `jti` in once."""
        claims = {"sub": person.id, "tenant": person.tenant, "role": person.role.value}
        if person.session is not None:
            claims["sid"] = person.session
        return self._signed(claims, STREAM_AUDIENCE, self._ticket_life, self._clock())

    def _signed(
        self, claims: dict[str, str], audience: str, life: timedelta, at: datetime
    ) -> AccessToken:
        token = self._keys.sign(claims, audience=audience, life=life, at=at)
        return AccessToken(token, int(life.total_seconds()))

    async def recognise(self, token: str) -> Person:
        """The person of an access token, as of now. Refuses with `unauthorized`."""
        try:
            found = self._keys.verify(token, audience=AUDIENCE)
        except TokenError as bad:
            raise RefusedError("unauthorized") from bad
        return await self.admit(_claims(found))

    async def admit(self, claims: TokenClaims) -> Person:
        """The person of verified claims, as of now. Refuses with `unauthorized`."""
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


def _claims(found: Mapping[str, Any]) -> TokenClaims:
    match found.get("sub"), found.get("tenant"), found.get("iat"), found.get("sid"):
        case str(agent_id), str(tenant), int() | float() as at, str() | None as session:
            issued = datetime.fromtimestamp(round(at, 3), UTC)
            return TokenClaims(agent_id, tenant, issued, session)
        case _:
            raise RefusedError("unauthorized")
