"""What routing knows: conversations that wait, agents who might take them, and what it decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from shared.contracts.directory import Policy
from shared.contracts.views import Role, Status


class Rule(StrEnum):
    """Why this agent."""

    STICKY = "sticky"
    LEAST_BUSY = "least_busy"
    ROUND_ROBIN = "round_robin"


class ParkReason(StrEnum):
    """Why nobody; stable codes."""

    MANUAL = "manual"
    HELD_BY_AGENT = "held_by_agent"
    OUT_OF_HOURS = "out_of_hours"
    NO_AGENTS = "no_agents"
    NOBODY_AVAILABLE = "nobody_available"
    AT_CAPACITY = "at_capacity"


class Exclusion(StrEnum):
    """Why a candidate cannot take a chat now."""

    ROLE = "role"
    OTHER_TEAM = "other_team"
    UNAVAILABLE = "unavailable"
    ABSENT = "absent"
    AT_CAPACITY = "at_capacity"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A conversation On Hold. `held`: parked by hand or snoozed; `last_agent`: for sticky."""

    id: str
    episode: int
    epoch: int
    team: str | None
    waiting_since: datetime
    last_agent: str | None = None
    held: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """An agent as a decision sees them.

    `load` = open chats over all teams + reservations. `connected`: has a socket now;
    `disconnected_at`: when the last one went, if that is known. `turn` rises each time routing
    gives the agent a chat.
    """

    agent_id: str
    role: Role
    teams: frozenset[str]
    capacity: int
    load: int
    available: bool
    connected: bool
    disconnected_at: datetime | None = None
    turn: int = 0


@dataclass(frozen=True, slots=True)
class Weighed:
    """A candidate's part in an explanation."""

    agent_id: str
    load: int
    capacity: int
    present: bool
    available: bool
    excluded: Exclusion | None

    def to_json(self) -> dict[str, Any]:
        return {
            "agent_id": self.agent_id,
            "load": self.load,
            "capacity": self.capacity,
            "present": self.present,
            "available": self.available,
            "excluded": self.excluded,
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """The account of a decision.

    `candidates` are the agents of the conversation's team, best first, then the excluded ones, at
    most `EXPLAINED` of them; `omitted` counts those left out.
    """

    strategy: str
    rule: str
    candidates: tuple[Weighed, ...] = ()
    omitted: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "strategy": self.strategy,
            "rule": self.rule,
            "candidates": [one.to_json() for one in self.candidates],
            "omitted": self.omitted,
        }


@dataclass(frozen=True, slots=True)
class Assign:
    agent_id: str
    reason: Rule
    explanation: Explanation


@dataclass(frozen=True, slots=True)
class Park:
    reason: ParkReason
    explanation: Explanation


Decision = Assign | Park


@dataclass(frozen=True, slots=True)
class Change:
    """A conversation's state after one of its events, or as inbox lists it.

    `held`: parked by hand or snoozed. `previous` is who held it before the event. `listed`: from
    inbox's list, not from an event.
    """

    tenant: str
    id: str
    version: int
    status: Status
    episode: int
    epoch: int
    assignee: str | None
    team: str | None
    waiting_since: datetime | None
    held: bool = False
    previous: str | None = None
    listed: bool = False


@dataclass(frozen=True, slots=True)
class Presence:
    """`agent.presence`: sockets appeared or are gone, or the state repeated."""

    tenant: str
    agent_id: str
    sequence: int
    present: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class Availability:
    """`agent.availability`: the agent's own switch; `version` is the agent's."""

    tenant: str
    agent_id: str
    version: int
    available: bool


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent of the directory."""

    id: str
    version: int
    role: Role
    teams: frozenset[str]
    capacity: int
    available: bool


@dataclass(frozen=True, slots=True)
class Roster:
    """What the directory says of one tenant."""

    active: bool
    policy: Policy
    agents: Mapping[str, Agent]


@dataclass(frozen=True, slots=True)
class Queue:
    """Who waits for one team (None: for anybody): how many, and how many lack a park record.

    `reason` is the one that the recorded ones were parked with.
    """

    team: str | None
    waiting: int
    unrecorded: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class AgentState:
    """An agent's part of a snapshot; see `Candidate`."""

    load: int
    connected: bool = False
    disconnected_at: datetime | None = None
    availability: tuple[int, bool] | None = None
    turn: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One tenant at one moment, from one atomic read. `built` False: Redis lost its state.

    `held_unrecorded`: parked by hand, without a record; `reserved`: slots kept for decisions;
    `unsent`: of those, how many lack the broker's ack.
    """

    built: bool
    queues: Sequence[Queue] = ()
    held_unrecorded: int = 0
    reserved: int = 0
    unsent: int = 0
    agents: Mapping[str, AgentState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reservation:
    """A slot that is kept for a decision until the conversation's next event or the expiry.

    `attempt` counts the decisions of the conversation; `payload` is the record's value, so that
    a repeat is byte-identical.
    """

    conversation_id: str
    attempt: int
    agent_id: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """A waiting conversation, its recorded park reason ("" none) and how many decisions it had."""

    waiting: Waiting
    parked: str
    attempt: int


class Refusal(StrEnum):
    """Why a reservation was not made."""

    CHANGED = "changed"
    FULL = "full"
    RESERVED = "reserved"
    UNBUILT = "unbuilt"
