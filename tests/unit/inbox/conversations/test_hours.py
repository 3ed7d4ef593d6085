from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.inbox.decisions.draft import blank
from services.inbox.decisions.fold import Fate, MessageIndex, Surroundings, fold
from services.inbox.model.conversation import ContactSnapshot, Conversation
from services.inbox.model.items import OutOfHours
from shared.contracts.commands import CommandType
from shared.contracts.hours import BusinessHours, Shift, is_open
from shared.contracts.views import ActorKind, Status

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)  # a Monday, 06:00 in Mexico City
CONTACT = ContactSnapshot("p1", wa_id="12025550111")
ITEM = OutOfHours(episode=1, epoch=1, message_id="m1")
HOURS = BusinessHours(
    timezone="America/Mexico_City",
    shifts=[
        Shift(days=["mon", "tue"], opens="09:00", closes="18:00"),
        Shift(days=["fri"], opens="20:00", closes="24:00"),
        Shift(days=["sat"], opens="00:00", closes="02:00"),
    ],
)


@pytest.mark.parametrize(
    ("at", "open_"),
    [
        pytest.param("2026-06-01T14:59:59Z", False, id="a second early"),
        pytest.param("2026-06-01T15:00:00Z", True, id="as it opens"),
        pytest.param("2026-06-01T23:59:59Z", True, id="a second before it closes"),
        pytest.param("2026-06-02T00:00:00Z", False, id="as it closes"),
        pytest.param("2026-06-03T16:00:00Z", False, id="another day"),
        pytest.param("2026-06-06T05:59:59Z", True, id="a night's first half"),
        pytest.param("2026-06-06T06:00:00Z", True, id="its second half"),
        pytest.param("2026-06-06T08:00:00Z", False, id="its end"),
    ],
)
def test_hours_are_those_of_the_place(at: str, open_: bool):
    assert is_open(HOURS, datetime.fromisoformat(at)) is open_


def test_without_hours_it_is_always_open():
    assert is_open(None, NOW)
    assert is_open(BusinessHours(timezone="Mars/Olympus", shifts=[]), NOW)
    assert not is_open(BusinessHours(timezone="UTC", shifts=[]), NOW)


def waiting(**members: Any) -> Conversation:
    it = blank(
        "c1",
        tenant="t1",
        number_id="n1",
        contact=CONTACT,
        group_id=None,
        generation=1,
        now=NOW,
    )
    return replace(
        it,
        **{
            "status": Status.ON_HOLD,
            "version": 2,
            "episode": 1,
            "epoch": 1,
            "window_closes_at": NOW + timedelta(hours=1),
            **members,
        },
    )


def told(it: Conversation, text: str | None = "Cerrado", index: MessageIndex | None = None) -> Any:
    around = Surroundings(NOW, CONTACT, closed_text=text)
    return fold(it, [ITEM], index or MessageIndex(), around)


def test_customer_is_told_once_in_an_episode_by_the_system():
    index = MessageIndex()
    first = told(waiting(), index=index)
    (event,) = first.events
    assert [fate for _, fate in first.fates] == [Fate.STORED]
    assert (event.message.text, event.message.author.kind) == ("Cerrado", "system")
    assert event.actor.kind is ActorKind.SYSTEM
    (command,) = event.commands
    assert (command.type, command.payload["body"]) == (
        CommandType.MESSAGE_SEND,
        {"body": "Cerrado"},
    )
    after = first.conversation
    assert (after.status, after.epoch, after.first_response_at) == (Status.ON_HOLD, 1, None)
    again = told(after, index=index)
    assert ([fate for _, fate in again.fates], again.events) == ([Fate.DUPLICATE], [])


@pytest.mark.parametrize(
    ("members", "text"),
    [
        pytest.param({}, None, id="no text"),
        pytest.param({"status": Status.OPEN, "assignee": "a1"}, "x", id="somebody took it"),
        pytest.param({"epoch": 2}, "x", id="moved since"),
        pytest.param({"episode": 2}, "x", id="another episode"),
        pytest.param({"window_closes_at": NOW}, "x", id="window closed"),
        pytest.param({"window_closes_at": None}, "x", id="never wrote"),
        pytest.param({"contact": replace(CONTACT, blocked=True)}, "x", id="blocked"),
        pytest.param({"deleted": True}, "x", id="deleted"),
    ],
)
def test_nobody_else_is_told(members: dict[str, Any], text: str | None):
    folded = told(waiting(**members), text)
    assert ([fate for _, fate in folded.fates], folded.events) == ([Fate.REFUSED], [])
