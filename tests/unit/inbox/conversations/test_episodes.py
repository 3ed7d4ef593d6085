"""What is kept of an opening: waits add up, tenures end, the account is written once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.inbox.decisions.draft import Draft, blank
from services.inbox.decisions.episodes import TENURES_KEPT, ended_episode, present_episode
from services.inbox.decisions.lifecycle import Move, Trigger
from services.inbox.model.conversation import ContactSnapshot, Conversation
from services.inbox.model.events import SYSTEM

T0 = datetime(2026, 3, 1, tzinfo=UTC)
Step = tuple[Trigger, float, str | None]


def _at(minutes: float) -> datetime:
    return T0 + timedelta(minutes=minutes)


def _never_open() -> Conversation:
    return blank(
        "c1",
        tenant="t1",
        number_id="n1",
        contact=ContactSnapshot("p1"),
        group_id=None,
        generation=1,
        now=T0,
    )


def _lived(*steps: Step) -> Draft:
    draft = Draft(_never_open(), T0)
    for trigger, minutes, agent in steps:
        draft.now = _at(minutes)
        assert draft.move(Move(trigger, draft.now, agent=agent, team="x"), actor=SYSTEM), trigger
    return draft


WROTE = (Trigger.CUSTOMER_WROTE, 0, None)
ANA = (Trigger.ACCEPT, 3, "ana")


@pytest.mark.parametrize(
    ("steps", "minutes"),
    [
        pytest.param([WROTE], 10, id="one_wait_that_lasts"),
        pytest.param([WROTE, ANA], 3, id="accepted"),
        pytest.param([WROTE, ANA, (Trigger.HOLD, 5, None)], 8, id="parked_again"),
        pytest.param([WROTE, (Trigger.TRANSFER_TEAM, 4, None)], 10, id="team_changes"),
        pytest.param([WROTE, (Trigger.RELEASED, 4, None)], 10, id="released_waits_on"),
        pytest.param([WROTE, (Trigger.BOT, 2, None), (Trigger.HANDOFF, 9, None)], 3, id="by_bot"),
    ],
)
def test_waits_of_an_episode_add_up(steps: list[Step], minutes: float):
    episode = present_episode(_lived(*steps).conversation, _at(10))
    assert episode is not None
    assert episode.waiting == timedelta(minutes=minutes)


def test_account_is_written_by_the_event_that_closes():
    draft = _lived(WROTE, ANA, (Trigger.TRANSFER_AGENT, 5, "bea"), (Trigger.CLOSE, 9, None))
    [ended] = [found for event in draft.events if (found := ended_episode(event))]
    assert [(each.agent, each.since, each.until) for each in ended.holders] == [
        ("ana", _at(3), _at(5)),
        ("bea", _at(5), _at(9)),
    ]
    assert (ended.number, ended.opened_at, ended.closed_at) == (1, _at(0), _at(9))
    assert present_episode(draft.conversation, _at(20)) is None


def test_next_episode_begins_without_the_last_one():
    draft = _lived(WROTE, ANA, (Trigger.CLOSE, 9, None), (Trigger.REOPEN, 20, "bea"))
    episode = present_episode(draft.conversation, _at(30))
    assert episode is not None
    assert (episode.number, episode.waiting) == (2, timedelta(0))
    assert [each.agent for each in episode.holders] == ["bea"]


@pytest.mark.parametrize("closed", [True, False])
def test_deletion_ends_only_what_was_not_closed(closed: bool):
    steps: list[Step] = [WROTE, ANA]
    if closed:
        steps.append((Trigger.CLOSE, 5, None))
    draft = _lived(*steps, (Trigger.DELETE, 8, None))
    ended = ended_episode(draft.events[-1])
    assert (ended is None) == closed
    assert ended is None or ended.reason == "deleted"


def test_tenures_are_bounded():
    steps: list[Step] = [WROTE, ANA]
    steps += [(Trigger.TRANSFER_AGENT, 4 + n, f"agent{n}") for n in range(TENURES_KEPT + 5)]
    held = _lived(*steps).conversation.tenures
    assert len(held) == TENURES_KEPT
    assert held[-1].agent == f"agent{TENURES_KEPT + 4}"


def test_never_open_has_no_episode():
    assert present_episode(replace(_never_open(), opened_at=None), _at(1)) is None
