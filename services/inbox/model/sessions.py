"""What a sign-in begins: a session, kept up by a refresh token that changes with each use."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One sign-in of one agent. `generation` counts the refresh tokens; only a hash is kept."""

    id: str
    tenant: str
    agent: str
    created_at: datetime
    used_at: datetime
    """When the present refresh token was made."""
    expires_at: datetime
    generation: int
    token_hash: str
    client: str = ""
    """The User-Agent of the sign-in, for people to know their devices by."""
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """What the client holds: `<session>.<generation>.<secret>`."""

    session: str
    generation: int
    secret: str

    def text(self) -> str:
        return f"{self.session}.{self.generation}.{self.secret}"
