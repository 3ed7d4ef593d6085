"""Who is asking."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from shared.contracts.views import Role


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a verified token says; the directory says whether it still holds."""

    agent_id: str
    tenant: str
    issued_at: datetime
    session: str | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """An admitted agent, with the role and teams of now (not of when the token was made)."""

    id: str
    tenant: str
    name: str
    role: Role
    team_ids: tuple[str, ...]
    session: str | None = None
    """The session that the token is of."""
    numbers: frozenset[str] | None = None
    """Of a bot, which calls with a key: whose chats it may have. None: a person."""

    @property
    def supervises(self) -> bool:
        """Whether all chats of the tenant are in sight."""
        return self.role is not Role.AGENT


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A signed token and how long it holds, in whole seconds."""

    token: str
    expires_in: int
