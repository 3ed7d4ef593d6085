"""A conversation that outlives its team: no move takes the team along."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.inbox.decisions.draft import Draft, blank
from services.inbox.decisions.fold import MessageIndex, Surroundings, fold
from services.inbox.decisions.lifecycle import TABLE, Move, Trigger
from services.inbox.decisions.timers import Terms, settle
from services.inbox.model.conversation import ContactSnapshot, Conversation
from services.inbox.model.events import SYSTEM
from services.inbox.model.items import BotFailure
from shared.contracts.views import Status

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
CONTACT = ContactSnapshot("p1")
OF_ANOTHER_TEAM = {Trigger.CUSTOMER_WROTE, Trigger.TRANSFER_TEAM}


def of_a_team(status: Status) -> Conversation:
    it = blank(
        "c1",
        tenant="t1",
        number_id="n1",
        contact=CONTACT,
        group_id=None,
        generation=1,
        now=NOW,
    )
    return replace(it, status=status, version=1, epoch=3, team="sales", assignee="a1")


@pytest.mark.parametrize(("status", "trigger"), sorted(TABLE))
def test_regression_a_move_leaves_a_team_behind_that_is_gone(
    status: Status, trigger: Trigger
) -> None:
    draft = Draft(of_a_team(status), NOW)
    given = "support" if trigger in OF_ANOTHER_TEAM else None
    move = Move(trigger, NOW, agent="a1", team=given, number_team=given, gone_team="sales")
    assert draft.move(move, actor=SYSTEM)
    assert draft.conversation.team == given
    assert draft.events[0].before.team == "sales"


@pytest.mark.parametrize("gone", [None, "sales"])
def test_a_bot_that_failed_or_is_silent_leaves_the_chat_to_a_team_that_is_there(
    gone: str | None,
) -> None:
    chat = replace(of_a_team(Status.BOT), bot_waits_since=NOW - timedelta(hours=1))
    kept = None if gone else "sales"
    around = Surroundings(NOW, CONTACT, gone_team=gone)
    failed = fold(chat, [BotFailure(3, "no_bot")], MessageIndex(), around)
    assert (failed.conversation.status, failed.conversation.team) == (Status.ON_HOLD, kept)
    silent = Draft(chat, NOW)
    settle(silent, Terms(timedelta(minutes=1), timedelta()), MessageIndex(), gone_team=gone)
    assert (silent.conversation.status, silent.conversation.team) == (Status.ON_HOLD, kept)
