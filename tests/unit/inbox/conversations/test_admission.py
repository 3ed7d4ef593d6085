"""Idempotency keys: the last 32, for a day."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from services.inbox.decisions.admission import answered, with_answer
from services.inbox.decisions.draft import blank
from services.inbox.model.conversation import ContactSnapshot

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
BLANK = blank(
    "c1",
    tenant="t1",
    number_id="n1",
    contact=ContactSnapshot("k1"),
    group_id=None,
    generation=1,
    now=NOW,
)


def test_the_last_32_keys_are_kept():
    conversation = BLANK
    for number in range(40):
        kept = with_answer(conversation, f"k{number}", 200, NOW)
        conversation = replace(conversation, answered=kept)
    assert [each.key for each in conversation.answered] == [f"k{n}" for n in range(8, 40)]


def test_key_is_answered_for_a_day():
    conversation = replace(BLANK, answered=with_answer(BLANK, "k1", 202, NOW, "m1"))
    day = timedelta(hours=24)
    found = answered(conversation, "k1", NOW + day - timedelta(seconds=1))
    assert found is not None
    assert (found.status, found.message_id) == (202, "m1")
    assert answered(conversation, "k1", NOW + day) is None
    assert answered(conversation, "k2", NOW) is None
    assert answered(conversation, None, NOW) is None


def test_old_keys_go_with_the_next_answer():
    conversation = replace(BLANK, answered=with_answer(BLANK, "k1", 200, NOW))
    later = NOW + timedelta(hours=25)
    assert [each.key for each in with_answer(conversation, "k2", 200, later)] == ["k2"]
    assert with_answer(conversation, None, 200, later) == ()
