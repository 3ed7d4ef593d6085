"""Decisions of routing: one that assigns, one that parks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from services.routing.decisions import decide
from services.routing.gateways import _record, to_payload
from services.routing.model import Assign, Candidate, Waiting
from shared.contracts.directory import Policy
from shared.contracts.events import DecisionType
from shared.contracts.records import OutRecord
from shared.contracts.views import Role

NOW = datetime(2026, 6, 1, 12, 0, 3, tzinfo=UTC)
WAITING = Waiting(
    id="conversation-1",
    episode=1,
    epoch=1,
    team="team-1",
    waiting_since=NOW - timedelta(seconds=3),
)


def candidate(agent: str, load: int) -> Candidate:
    return Candidate(
        agent_id=agent,
        role=Role.AGENT,
        teams=frozenset({"team-1"}),
        capacity=5,
        load=load,
        available=True,
        connected=True,
    )


def routing_records() -> list[OutRecord]:
    found = []
    for policy in (Policy(strategy="least_busy"), Policy()):
        candidates = [candidate("agent-1", 2), candidate("agent-2", 5)]
        decision = decide(WAITING, policy, candidates, NOW)
        given = isinstance(decision, Assign)
        kind = DecisionType.ASSIGN if given else DecisionType.PARK
        what = decision.agent_id if isinstance(decision, Assign) else decision.reason
        payload = to_payload(WAITING, decision, NOW)
        found.append(_record("tenant-1", kind, payload, what, 1))
    return found
