"""The decision itself: who takes a waiting conversation, or why nobody does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from services.routing.model import (
    Agent,
    AgentState,
    Assign,
    Candidate,
    Decision,
    Exclusion,
    Explanation,
    Park,
    ParkReason,
    Rule,
    Waiting,
    Weighed,
)
from shared.contracts.directory import Policy
from shared.contracts.hours import is_open
from shared.contracts.views import Role

EXPLAINED = 50
"""Candidates named in one explanation: a record stays below a few kilobytes."""


def decide(
    conversation: Waiting, policy: Policy, candidates: Sequence[Candidate], now: datetime
) -> Decision:
    """Assign the conversation to one of the candidates, or park it, with the reason.

    The same arguments give the same decision, whatever the order of the candidates.
    """
    if conversation.held:
        return Park(
            ParkReason.HELD_BY_AGENT, Explanation(policy.strategy, ParkReason.HELD_BY_AGENT)
        )
    if not is_open(policy.business_hours, now):
        return Park(ParkReason.OUT_OF_HOURS, Explanation(policy.strategy, ParkReason.OUT_OF_HOURS))
    if policy.strategy == "manual":
        return Park(ParkReason.MANUAL, Explanation(policy.strategy, ParkReason.MANUAL))
    grace = timedelta(seconds=policy.presence_grace_seconds)
    weighed = [(one, *_weigh(one, conversation, grace, now)) for one in candidates]
    free = sorted(
        (one for one, _, excluded in weighed if excluded is None), key=_order(policy.strategy)
    )
    chosen, rule = _choose(conversation, policy, free)
    explained = _explain(policy, rule, free, weighed)
    if chosen is not None and isinstance(rule, Rule):
        return Assign(chosen.agent_id, rule, explained)
    reason = _why_nobody({excluded for _, _, excluded in weighed})
    return Park(
        reason, Explanation(policy.strategy, reason, explained.candidates, explained.omitted)
    )


def decide_queue(
    team: str | None, policy: Policy, candidates: Sequence[Candidate], now: datetime
) -> Park | None:
    """The decision for everybody who waits for this team; None while somebody is free.

    When nobody is, it depends on no conversation: 10,000 that wait cost one decision.
    """
    anyone = Waiting(id="", episode=0, epoch=0, team=team, waiting_since=now)
    decision = decide(anyone, policy, candidates, now)
    return decision if isinstance(decision, Park) else None


def is_present(candidate: Candidate, grace: timedelta, now: datetime) -> bool:
    """Whether the agent has a socket, or lost the last one less than `grace` ago."""
    if candidate.connected:
        return True
    gone = candidate.disconnected_at
    return gone is not None and now - gone < grace


def candidate_of(agent: Agent, state: AgentState | None) -> Candidate:
    """An agent of the directory as a candidate; without a state they are absent and idle.

    Availability is told by the directory and by the agent's own events: the newer one counts.
    """
    if state is None:
        state = AgentState(load=0)
    available = agent.available
    if state.availability is not None and state.availability[0] > agent.version:
        available = state.availability[1]
    return Candidate(
        agent_id=agent.id,
        role=agent.role,
        teams=agent.teams,
        capacity=agent.capacity,
        load=state.load,
        available=available,
        connected=state.connected,
        disconnected_at=state.disconnected_at,
        turn=state.turn,
    )


def in_reach(candidate: Candidate, team: str | None) -> bool:
    """Whether chats of this team are the candidate's to take; without a team they are anybody's."""
    return candidate.role is Role.AGENT and (team is None or team in candidate.teams)


def free_slots(
    team: str | None, candidates: Sequence[Candidate], policy: Policy, now: datetime
) -> int:
    """How many more chats of this team the present and available agents can take."""
    grace = timedelta(seconds=policy.presence_grace_seconds)
    return sum(
        max(0, one.capacity - one.load)
        for one in candidates
        if in_reach(one, team) and one.available and is_present(one, grace, now)
    )


def _weigh(
    one: Candidate, conversation: Waiting, grace: timedelta, now: datetime
) -> tuple[bool, Exclusion | None]:
    present = is_present(one, grace, now)
    if one.role is not Role.AGENT:
        return present, Exclusion.ROLE
    if not in_reach(one, conversation.team):
        return present, Exclusion.OTHER_TEAM
    if not one.available:
        return present, Exclusion.UNAVAILABLE
    if not present:
        return present, Exclusion.ABSENT
    if one.load >= one.capacity:
        return present, Exclusion.AT_CAPACITY
    return present, None


def _choose(
    conversation: Waiting, policy: Policy, free: Sequence[Candidate]
) -> tuple[Candidate | None, Rule | None]:
    if not free:
        return None, None
    if policy.sticky and conversation.last_agent is not None:
        for one in free:
            if one.agent_id == conversation.last_agent:
                return one, Rule.STICKY
    return free[0], Rule.ROUND_ROBIN if policy.strategy == "round_robin" else Rule.LEAST_BUSY


def _order(strategy: str) -> Callable[[Candidate], tuple[int, int, str]]:
    if strategy == "round_robin":
        return lambda one: (one.turn, 0, one.agent_id)
    # Equals go by turn: to whom routing gave nothing for the longest time.
    return lambda one: (one.load, one.turn, one.agent_id)


def _why_nobody(exclusions: set[Exclusion | None]) -> ParkReason:
    if Exclusion.AT_CAPACITY in exclusions:
        return ParkReason.AT_CAPACITY
    if exclusions & {Exclusion.UNAVAILABLE, Exclusion.ABSENT}:
        return ParkReason.NOBODY_AVAILABLE
    return ParkReason.NO_AGENTS


def _explain(
    policy: Policy,
    rule: Rule | None,
    free: Sequence[Candidate],
    weighed: Sequence[tuple[Candidate, bool, Exclusion | None]],
) -> Explanation:
    rank = {one.agent_id: place for place, one in enumerate(free)}
    named = [
        (rank.get(one.agent_id, len(rank)), one.agent_id, one, present, excluded)
        for one, present, excluded in weighed
        if excluded not in (Exclusion.ROLE, Exclusion.OTHER_TEAM)
    ]
    named.sort(key=lambda entry: entry[:2])
    return Explanation(
        policy.strategy,
        rule or "",
        tuple(
            Weighed(one.agent_id, one.load, one.capacity, present, one.available, excluded)
            for _, _, one, present, excluded in named[:EXPLAINED]
        ),
        omitted=max(0, len(named) - EXPLAINED),
    )
