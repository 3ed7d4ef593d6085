import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.delivery.decisions.states import TRANSITIONS, next_status, sources, target
from services.delivery.model import OPEN, SendStatus, Trigger

TABLE = [
    ("queued", "claim", "started"),
    ("retry", "claim", "started"),
    ("started", "release", "retry"),
    ("started", "later", "retry"),
    ("started", "accept", "accepted"),
    ("started", "refuse", "failed"),
    ("started", "doubt", "unknown"),
    ("started", "lease_over", "unknown"),
    ("unknown", "accept", "accepted"),
]


def test_the_table_is_exactly_this():
    assert {(s.value, t.value, to.value) for (s, t), to in TRANSITIONS.items()} == set(TABLE)


@pytest.mark.parametrize("trigger", list(Trigger))
def test_every_trigger_leads_to_one_status(trigger: Trigger):
    assert sources(trigger)
    assert all(next_status(source, trigger) is target(trigger) for source in sources(trigger))


@given(st.lists(st.sampled_from(list(Trigger)), max_size=12))
def test_what_was_posted_is_never_claimed_again(triggers: list[Trigger]):
    status = SendStatus.QUEUED
    for trigger in triggers:
        after = next_status(status, trigger)
        if after is None:
            continue
        if status not in OPEN:
            assert (status, trigger) == (SendStatus.UNKNOWN, Trigger.ACCEPT)
        status = after


@given(st.sampled_from(list(SendStatus)), st.sampled_from(list(Trigger)))
def test_a_repeated_trigger_changes_nothing(status: SendStatus, trigger: Trigger):
    after = next_status(status, trigger)
    if after is not None:
        assert next_status(after, trigger) is None
