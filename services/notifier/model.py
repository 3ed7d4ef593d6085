from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from shared.contracts.views import Role

Tags = frozenset[str]
"""Names of streams: `all`, `agent:<id>`, `queue:<team|none>`, `everybody`."""

ALL = "all"
"""Every event of the tenant, for supervisors and admins."""
EVERYBODY = "everybody"
"""What each connected person of the tenant is told: presence and availability of agents."""
NOBODY: Tags = frozenset()


class Scope(StrEnum):
    """How much of the tenant a client follows."""

    MINE = "mine"
    ALL = "all"


class Change(StrEnum):
    """What an event does to one client's view of its conversation."""

    ENTER = "enter"
    UPDATE = "update"
    LEAVE = "leave"


class CloseCode(StrEnum):
    """Why a stream ends; `code` is what the socket closes with."""

    BAD_HELLO = "bad_hello"
    BAD_TOKEN = "bad_token"  # noqa: S105 - a name
    BAD_ORIGIN = "bad_origin"
    NO_HELLO = "no_hello"
    FRAME_TOO_LARGE = "frame_too_large"
    TOO_SLOW = "too_slow"
    TOO_MANY = "too_many_connections"
    RESTART = "restart"

    @property
    def code(self) -> int:
        """The WebSocket close code."""
        return _CODES[self]


_CODES: dict[CloseCode, int] = {
    CloseCode.BAD_HELLO: 4400,
    CloseCode.BAD_TOKEN: 4401,
    CloseCode.BAD_ORIGIN: 4403,
    CloseCode.NO_HELLO: 4408,
    CloseCode.FRAME_TOO_LARGE: 4413,
    CloseCode.TOO_SLOW: 4429,
    CloseCode.TOO_MANY: 4429,
    CloseCode.RESTART: 1012,
}


@dataclass(frozen=True, slots=True)
class Agent:
    """A person as the directory shows them. `valid_after` is in seconds since 1970.

    `revoked`: the sessions whose tokens are refused. `others`: the teams beside the own ones whose
    queues may be seen: a supervisor's are all of the tenant.
    """

    tenant: str
    id: str
    name: str
    role: Role
    teams: tuple[str, ...]
    valid_after: float
    revoked: frozenset[str] = frozenset()
    others: tuple[str, ...] = ()

    @property
    def supervises(self) -> bool:
        """Whether all of the tenant may be seen."""
        return self.role in (Role.SUPERVISOR, Role.ADMIN)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says. Times are seconds since 1970."""

    tenant: str
    agent: str
    issued_at: float
    expires_at: float
    token_id: str
    ticket: bool
    session: str | None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """A client's place in its tenant's feed."""

    epoch: str
    seq: int
    tags_hash: str


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a tenant's feed, the same for everybody."""

    epoch: str
    seq: int


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """An event on its way into the rings.

    `subject` guards the version: the same subject's versions only rise. `gap_free` says that they
    rise by one. `body` is the `event` member of the frame, encoded once for all clients.
    """

    tenant: str
    subject: str
    version: int
    gap_free: bool
    before: Tags
    after: Tags
    body: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """An event as it stands in a ring."""

    seq: int
    epoch: str
    before: Tags
    after: Tags
    body: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """What one atomic read of several rings gave.

    `position` is the feed's end at that moment, `floor` the highest seq that is gone from any of
    the rings, `streams` the entries of each ring, `limit` the most that one ring gives.
    """

    position: Position
    floor: int
    streams: tuple[tuple[Entry, ...], ...]
    limit: int


@dataclass(frozen=True, slots=True)
class Activity:
    """What an agent does in a chat just now, told to those who see the same chat."""

    tenant: str
    conversation: str
    agent: str
    name: str
    audience: Tags
    viewing: bool
    typing: bool
    ask: bool = False


@dataclass(frozen=True, slots=True)
class PresenceState:
    """Whether an agent has sockets. `counter` rises with each transition."""

    tenant: str
    agent: str
    present: bool
    counter: int
    since: float
    changed: bool = False
    expires_at: float = 0.0
    refused: bool = False
