"""What a bot is told of its chats."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from services.inbox.decisions.bots import tells_bot
from services.inbox.decisions.draft import Draft, blank
from services.inbox.decisions.lifecycle import Move, Trigger
from services.inbox.model.conversation import ContactSnapshot
from services.inbox.model.events import SYSTEM, ActorRef
from shared.contracts.views import ActorKind, Status

NOW = datetime(2026, 6, 1, tzinfo=UTC)
AGENT, BOT = ActorRef(ActorKind.AGENT, "a1"), ActorRef(ActorKind.BOT, "k1")


def told(status: Status, *moves: Move, actor: ActorRef, reason: str | None = None) -> list[str]:
    it = blank(
        "c1",
        tenant="t1",
        number_id="n1",
        contact=ContactSnapshot("p1"),
        group_id=None,
        generation=1,
        now=NOW,
    )
    draft = Draft(replace(it, status=status, version=1), NOW)
    for move in moves:
        assert draft.move(move, actor=actor, reason=reason)
    return [event.type.value for event in draft.events if tells_bot(event)]


@pytest.mark.parametrize(
    ("trigger", "actor", "reason", "expected"),
    [
        pytest.param(Trigger.HANDOFF, AGENT, None, ["conversation.held"], id="taken by a person"),
        pytest.param(Trigger.HANDOFF, SYSTEM, "bot_silent", ["conversation.held"], id="silent"),
        pytest.param(Trigger.BLOCK, AGENT, None, ["conversation.closed"], id="blocked"),
        pytest.param(Trigger.DELETE, AGENT, None, ["conversation.deleted"], id="deleted"),
        pytest.param(Trigger.HANDOFF, BOT, None, [], id="its own handoff"),
        pytest.param(Trigger.HANDOFF, SYSTEM, "bot_failed", [], id="it could not be told"),
    ],
)
def test_bot_is_told_that_somebody_else_ended_its_chat(
    trigger: Trigger, actor: ActorRef, reason: str | None, expected: list[str]
) -> None:
    assert told(Status.BOT, Move(trigger, NOW), actor=actor, reason=reason) == expected


def test_bot_is_told_nothing_of_what_people_do_with_the_chat_afterwards() -> None:
    moves = (Move(Trigger.ACCEPT, NOW, agent="a1"), Move(Trigger.CLOSE, NOW))
    assert told(Status.ON_HOLD, *moves, actor=AGENT) == []
