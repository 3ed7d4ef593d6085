from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.routing.decisions import EXPLAINED, candidate_of, decide, decide_queue, free_slots
from services.routing.model import (
    Agent,
    AgentState,
    Assign,
    Candidate,
    Exclusion,
    Park,
    ParkReason,
    Rule,
    Waiting,
)
from shared.contracts.directory import Policy
from shared.contracts.hours import BusinessHours
from shared.contracts.views import Role

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
GRACE = timedelta(seconds=45)
LEAST_BUSY = Policy(strategy="least_busy")
SHUT = Policy(strategy="least_busy", business_hours=BusinessHours(timezone="UTC", shifts=[]))
ROUND_ROBIN = Policy(strategy="round_robin")


def waiting(
    *, team: str | None = None, last_agent: str | None = None, held: bool = False
) -> Waiting:
    return Waiting("c", 1, 1, team, NOW, last_agent, held)


def agent(name: str, **over: object) -> Candidate:
    fields: dict[str, object] = {
        "role": Role.AGENT,
        "teams": frozenset[str](),
        "capacity": 5,
        "load": 0,
        "available": True,
        "connected": True,
    }
    return Candidate(agent_id=name, **(fields | over))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("conversation", "policy", "candidates", "expected"),
    [
        pytest.param(
            waiting(), Policy(), [agent("a")], ParkReason.MANUAL, id="manual parks beside free ones"
        ),
        pytest.param(
            waiting(held=True),
            LEAST_BUSY,
            [agent("a")],
            ParkReason.HELD_BY_AGENT,
            id="by hand",
        ),
        pytest.param(
            waiting(),
            SHUT,
            [agent("a")],
            ParkReason.OUT_OF_HOURS,
            id="out of hours beside free ones",
        ),
        pytest.param(
            waiting(),
            SHUT.model_copy(update={"strategy": "manual"}),
            [],
            ParkReason.OUT_OF_HOURS,
            id="out of hours by hand",
        ),
        pytest.param(waiting(), LEAST_BUSY, [], ParkReason.NO_AGENTS, id="nobody at all"),
        pytest.param(
            waiting(team="t"), LEAST_BUSY, [agent("a")], ParkReason.NO_AGENTS, id="another team's"
        ),
        pytest.param(
            waiting(team="t"), LEAST_BUSY, [agent("a", teams=frozenset("t"))], "a", id="of the team"
        ),
        pytest.param(
            waiting(),
            LEAST_BUSY,
            [agent("a", teams=frozenset("t"))],
            "a",
            id="no team",
        ),
        pytest.param(
            waiting(),
            LEAST_BUSY,
            [agent("s", role=Role.SUPERVISOR), agent("x", role=Role.ADMIN)],
            ParkReason.NO_AGENTS,
            id="only agents are routed to",
        ),
        pytest.param(
            waiting(),
            LEAST_BUSY,
            [agent("a", available=False)],
            ParkReason.NOBODY_AVAILABLE,
            id="switched off",
        ),
        pytest.param(
            waiting(),
            LEAST_BUSY,
            [agent("a", connected=False)],
            ParkReason.NOBODY_AVAILABLE,
            id="never seen is absent",
        ),
        pytest.param(
            waiting(),
            LEAST_BUSY,
            [agent("a", connected=False, disconnected_at=NOW - GRACE + timedelta(seconds=1))],
            "a",
            id="within the grace",
        ),
        pytest.param(
            waiting(),
            LEAST_BUSY,
            [agent("a", connected=False, disconnected_at=NOW - GRACE)],
            ParkReason.NOBODY_AVAILABLE,
            id="after the grace",
        ),
        pytest.param(
            waiting(),
            LEAST_BUSY,
            [agent("a", load=5), agent("b", connected=False)],
            ParkReason.AT_CAPACITY,
            id="full beside absent",
        ),
        pytest.param(
            waiting(),
            LEAST_BUSY,
            [agent("a", capacity=0)],
            ParkReason.AT_CAPACITY,
            id="capacity nought",
        ),
        pytest.param(
            waiting(), LEAST_BUSY, [agent("a", load=2), agent("b", load=1)], "b", id="least busy"
        ),
        pytest.param(
            waiting(),
            LEAST_BUSY,
            [agent("a", load=1, turn=9), agent("b", load=1, turn=4)],
            "b",
            id="equals by the longest without a chat",
        ),
        pytest.param(
            waiting(), LEAST_BUSY, [agent("b"), agent("a")], "a", id="then by id, not by order"
        ),
        pytest.param(
            waiting(),
            ROUND_ROBIN,
            [agent("a", load=0, turn=7), agent("b", load=4, turn=3)],
            "b",
            id="round robin goes by turn",
        ),
        pytest.param(
            waiting(last_agent="a"),
            Policy(strategy="least_busy", sticky=True),
            [agent("a", load=4), agent("b")],
            "a",
            id="sticky",
        ),
        pytest.param(
            waiting(last_agent="a"),
            LEAST_BUSY,
            [agent("a", load=4), agent("b")],
            "b",
            id="not sticky unless asked",
        ),
        pytest.param(
            waiting(last_agent="a"),
            Policy(strategy="round_robin", sticky=True),
            [agent("a", load=5), agent("b")],
            "b",
            id="sticky agent at capacity",
        ),
        pytest.param(
            waiting(last_agent="a"),
            Policy(strategy="least_busy", sticky=True),
            [agent("a", connected=False), agent("b")],
            "b",
            id="sticky agent absent",
        ),
        pytest.param(
            waiting(last_agent="a", team="t"),
            Policy(strategy="least_busy", sticky=True),
            [agent("a"), agent("b", teams=frozenset("t"))],
            "b",
            id="sticky agent of another team",
        ),
    ],
)
def test_decide(
    conversation: Waiting, policy: Policy, candidates: list[Candidate], expected: ParkReason | str
) -> None:
    decision = decide(conversation, policy, candidates, NOW)
    found = decision.agent_id if isinstance(decision, Assign) else decision.reason
    assert found == expected


def test_explanation_names_everybody_of_the_team_and_why_not() -> None:
    decision = decide(
        waiting(team="t"),
        LEAST_BUSY,
        [
            agent("other"),
            agent("full", teams=frozenset("t"), load=5),
            agent("away", teams=frozenset("t"), connected=False),
            agent("off", teams=frozenset("t"), available=False),
            agent("second", teams=frozenset("t"), load=2),
            agent("first", teams=frozenset("t"), load=1),
        ],
        NOW,
    )
    assert isinstance(decision, Assign)
    told = decision.explanation.to_json()
    assert (told["strategy"], told["rule"], told["omitted"]) == ("least_busy", "least_busy", 0)
    assert [(one["agent_id"], one["excluded"]) for one in told["candidates"]] == [
        ("first", None),
        ("second", None),
        ("away", Exclusion.ABSENT),
        ("full", Exclusion.AT_CAPACITY),
        ("off", Exclusion.UNAVAILABLE),
    ]
    assert told["candidates"][0] == {
        "agent_id": "first",
        "load": 1,
        "capacity": 5,
        "present": True,
        "available": True,
        "excluded": None,
    }


def test_sticky_says_so() -> None:
    policy = Policy(strategy="least_busy", sticky=True)
    decision = decide(waiting(last_agent="a"), policy, [agent("a", load=4), agent("b")], NOW)
    assert decision.reason is Rule.STICKY
    assert decision.explanation.rule == "sticky"


def test_explanation_is_bounded() -> None:
    decision = decide(waiting(), LEAST_BUSY, [agent(f"a{i:03}") for i in range(80)], NOW)
    assert len(decision.explanation.candidates) == EXPLAINED
    assert decision.explanation.omitted == 80 - EXPLAINED


@pytest.mark.parametrize(
    ("told", "available"),
    [
        pytest.param(None, True, id="directory alone"),
        pytest.param((3, False), True, id="older event"),
        pytest.param((5, False), False, id="newer event"),
    ],
)
def test_newer_availability_counts(told: tuple[int, bool] | None, available: bool) -> None:
    known = Agent("a", 4, Role.AGENT, frozenset(), 5, available=True)
    assert candidate_of(known, AgentState(load=0, availability=told)).available is available


def test_agent_without_state_is_absent() -> None:
    known = Agent("a", 4, Role.AGENT, frozenset(), 5, available=True)
    assert decide_queue(None, LEAST_BUSY, [candidate_of(known, None)], NOW) is not None


CANDIDATES = st.lists(
    st.builds(
        Candidate,
        agent_id=st.sampled_from("abcdefgh"),
        role=st.sampled_from(Role),
        teams=st.frozensets(st.sampled_from("tuv")),
        capacity=st.integers(0, 3),
        load=st.integers(0, 4),
        available=st.booleans(),
        connected=st.booleans(),
        disconnected_at=st.none()
        | st.integers(0, 90).map(lambda seconds: NOW - timedelta(seconds=seconds)),
        turn=st.integers(0, 9),
    ),
    unique_by=lambda one: one.agent_id,
    max_size=8,
)
POLICIES = st.builds(
    Policy,
    strategy=st.sampled_from(["manual", "least_busy", "round_robin"]),
    sticky=st.booleans(),
    presence_grace_seconds=st.sampled_from([0, 45]),
)
WAITING = st.builds(
    waiting,
    team=st.none() | st.sampled_from("tuv"),
    last_agent=st.none() | st.sampled_from("abcdefgh"),
    held=st.booleans(),
)


@given(WAITING, POLICIES, CANDIDATES)
def test_decide_never_picks_who_is_not_eligible(
    conversation: Waiting, policy: Policy, candidates: list[Candidate]
) -> None:
    decision = decide(conversation, policy, candidates, NOW)
    grace = timedelta(seconds=policy.presence_grace_seconds)
    eligible = {
        one.agent_id
        for one in candidates
        if one.role is Role.AGENT
        and (conversation.team is None or conversation.team in one.teams)
        and one.available
        and (
            one.connected or (one.disconnected_at is not None and NOW - one.disconnected_at < grace)
        )
        and one.load < one.capacity
    }
    if conversation.held or policy.strategy == "manual":
        assert isinstance(decision, Park)
    elif isinstance(decision, Assign):
        assert decision.agent_id in eligible
    else:
        assert not eligible


@given(WAITING, POLICIES, CANDIDATES, st.randoms())
def test_decide_does_not_depend_on_the_order(
    conversation: Waiting, policy: Policy, candidates: list[Candidate], random: object
) -> None:
    first = decide(conversation, policy, candidates, NOW)
    shuffled = list(candidates)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert decide(conversation, policy, shuffled, NOW) == first


@given(WAITING, POLICIES, CANDIDATES)
def test_nobody_free_is_the_same_for_the_whole_queue(
    conversation: Waiting, policy: Policy, candidates: list[Candidate]
) -> None:
    if conversation.held:
        return
    decision = decide(conversation, policy, candidates, NOW)
    queue = decide_queue(conversation.team, policy, candidates, NOW)
    assert (queue is None) == isinstance(decision, Assign)
    if policy.strategy != "manual":
        slots = free_slots(conversation.team, candidates, policy, NOW)
        assert (slots > 0) == isinstance(decision, Assign)
