"""What opens the 24-hour window beside messages."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.inbox.decisions.draft import blank
from services.inbox.decisions.fold import Fate, Folded, MessageIndex, Surroundings, fold
from services.inbox.model.conversation import ContactSnapshot, Conversation
from services.inbox.model.items import Called
from shared.contracts.events import EventType
from shared.contracts.views import Status
from shared.value import evolve

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LUZ = ContactSnapshot("k1", name="Luz", wa_id="5215500000001")


def chat(closes: datetime | None = None, contact: ContactSnapshot = LUZ) -> Conversation:
    made = blank(
        "c1", tenant="t", number_id="n", contact=contact, group_id=None, generation=1, now=NOW
    )
    return evolve(made, version=3, seq=2, status=Status.OPEN, window_closes_at=closes)


def called(before: Conversation, at: datetime) -> Folded:
    return fold(before, [Called(at)], MessageIndex(), Surroundings(NOW, before.contact))


@pytest.mark.parametrize("closes", [None, NOW - HOUR, NOW + HOUR], ids=["never", "closed", "open"])
def test_call_opens_the_window_and_changes_nothing_else(closes: datetime | None):
    before = chat(closes)
    after = called(before, NOW - HOUR)

    assert [event.type for event in after.events] == [EventType.CONVERSATION_UPDATED]
    assert after.events[0].details == {"kind": "called"}
    opened = evolve(before, version=4, window_closes_at=NOW + 23 * HOUR, updated_at=NOW)
    assert after.conversation == opened


def test_clock_of_a_call_is_not_ahead_of_ours():
    assert called(chat(), NOW + HOUR).conversation.window_closes_at == NOW + 24 * HOUR


@pytest.mark.parametrize(
    ("before", "at", "fate"),
    [
        pytest.param(chat(NOW + 70 * HOUR), NOW, Fate.UNCHANGED, id="longer-already"),
        pytest.param(chat(NOW + 24 * HOUR), NOW, Fate.UNCHANGED, id="told-before"),
        pytest.param(chat(), NOW - 25 * HOUR, Fate.UNCHANGED, id="long-ago"),
        pytest.param(chat(contact=replace(LUZ, blocked=True)), NOW, Fate.REFUSED, id="blocked"),
    ],
)
def test_call_that_opens_nothing_has_no_event(before: Conversation, at: datetime, fate: Fate):
    after = called(before, at)

    assert [each for _, each in after.fates] == [fate]
    assert after.events == []
    assert after.conversation == before
