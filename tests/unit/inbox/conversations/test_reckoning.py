from collections import Counter
from datetime import UTC, date, datetime
from typing import Any

import pytest

from services.inbox.decisions.parsing import Parsed, Recorded
from services.inbox.decisions.reckoning import Evidence, Gap, Reckoning, found
from services.inbox.model.conversation import AuthorRef, Message, ReactionState, Stamp
from services.inbox.model.items import Body, Fact, Incoming, Person, ReactionFact, StatusFact
from services.inbox.model.tally import Lane, Outcome, Place, Refusal, Tally

AT = datetime(2026, 6, 1, 12, tzinfo=UTC)
SOURCE = "3/7"
PLACE = Place("inbound", 3, 7)
LANE = Lane("t", AT.date(), "inbound", 3)
INCOMING = Incoming("m", "w", AT, AT, Person(), Body("text", "x", None, {}), b"{}", "customer")
STATUS = Fact("f", ("m",), StatusFact("read", AT))
EARLIER, LATER = Stamp(AT, "a"), Stamp(AT, "z")
OF_THE_FIRST = Fact("s", ("m",), StatusFact("read", AT, None, "wamid.old", "old"))
REACTION = Fact("r", ("m",), ReactionFact("contact", "reactor", "x", Stamp(AT, "m")))
CHANGE = Recorded("c", "t", None, "account_update", b"{}", AT)


def parsed(item: Incoming | Fact) -> Parsed:
    return Parsed("t", "n", Person(), None, item)


def message(**members: Any) -> Message:
    whole = {"v": 1, "seq": 1, "direction": "out", "type": "text", "received_at": AT} | members
    return Message(
        id="m",
        tenant="t",
        number_id="n",
        conversation_id="c",
        author=AuthorRef("phone"),
        **whole,
    )


def refusal(outcome: Outcome, now: Outcome | None = None) -> Refusal:
    return Refusal(PLACE, "t", AT.date(), outcome, "m", now)


@pytest.mark.parametrize(
    ("record", "evidence", "outcome"),
    [
        pytest.param(INCOMING, {"message": message(source=SOURCE)}, Outcome.MESSAGE, id="its own"),
        pytest.param(
            INCOMING,
            {"message": message(source=SOURCE), "refusal": refusal(Outcome.PARKED)},
            Outcome.MESSAGE,
            id="its own, though noted as parked",
        ),
        pytest.param(
            INCOMING,
            {"message": message(source="3/8"), "refusal": refusal(Outcome.BLOCKED)},
            Outcome.BLOCKED,
            id="blocked, and sent again when it was not",
        ),
        pytest.param(
            INCOMING, {"message": message(source="3/8")}, Outcome.DUPLICATE, id="another's"
        ),
        pytest.param(INCOMING, {"message": message()}, Outcome.DUPLICATE, id="our own message"),
        pytest.param(INCOMING, {}, Gap.LOST, id="nothing"),
        pytest.param(INCOMING, {"old": True}, Gap.EXPIRED, id="nothing, long ago"),
        pytest.param(
            INCOMING,
            {"refusal": refusal(Outcome.PARKED), "parked": True},
            Outcome.PARKED,
            id="parked",
        ),
        pytest.param(INCOMING, {"refusal": refusal(Outcome.PARKED)}, Gap.LOST, id="parked no more"),
        pytest.param(
            STATUS, {"message": message(facts={"read": AT})}, Outcome.FACT, id="a fact it says"
        ),
        pytest.param(STATUS, {"message": message()}, Gap.LOST, id="a fact it does not say"),
        pytest.param(
            OF_THE_FIRST,
            {"message": message(wamid_key="new", earlier={"old": {"read": AT}})},
            Outcome.FACT,
            id="a fact of its first attempt",
        ),
        pytest.param(
            OF_THE_FIRST,
            {
                "message": message(
                    wamid_key="new", facts={"read": AT}, earlier={"old": {"failed": AT}}
                )
            },
            Gap.LOST,
            id="a fact of its first attempt that only the second has",
        ),
        pytest.param(
            STATUS, {"message": message(), "old": True}, Gap.LOST, id="the same, long ago"
        ),
        pytest.param(
            STATUS, {"message": message(deleted=True)}, Outcome.FACT, id="a fact of what is erased"
        ),
        pytest.param(
            REACTION,
            {"message": message(reactions=(ReactionState("contact", "c", "x", LATER),))},
            Outcome.FACT,
            id="a reaction of the contact, by another name, before the last one",
        ),
        pytest.param(
            REACTION,
            {"message": message(reactions=(ReactionState("contact", "c", "x", EARLIER),))},
            Gap.LOST,
            id="a reaction that only an earlier one is there of",
        ),
        pytest.param(STATUS, {"kept": True}, Outcome.FACT, id="a fact that waits"),
        pytest.param(STATUS, {}, Gap.LOST, id="a fact of nothing"),
        pytest.param(STATUS, {"old": True}, Gap.EXPIRED, id="a fact that waited in vain"),
        pytest.param(CHANGE, {"kept": True}, Outcome.CHANGE, id="a change"),
        pytest.param(CHANGE, {}, Gap.LOST, id="a change that is not kept"),
        pytest.param(None, {"refusal": refusal(Outcome.DEAD)}, Outcome.DEAD, id="unreadable"),
        pytest.param(None, {}, Gap.LOST, id="unreadable, and nobody noted it"),
    ],
)
def test_what_is_stored_tells_what_became_of_a_record(
    record: Incoming | Fact | Recorded | None, evidence: dict[str, Any], outcome: Outcome | Gap
) -> None:
    read = parsed(record) if isinstance(record, Incoming | Fact) else record
    assert found(read, SOURCE, Evidence(**{"old": False, **evidence})) is outcome


def reckoned(
    tally: Tally | None,
    *taken: tuple[int, Outcome | Gap],
    starts: int = 0,
    upto: int = 10,
    topic_begins: int | None = None,
) -> set[str]:
    """What differs, of records that have these offsets and became this."""
    reckoning = Reckoning([] if tally is None else [tally], starts={3: starts}, upto={3: upto})
    if topic_begins is not None:
        other = Lane("another", AT.date(), "inbound", 3)
        reckoning.concerns(other, Place("inbound", 3, topic_begins))
    for offset, outcome in taken:
        place = Place("inbound", 3, offset)
        if reckoning.concerns(LANE, place):
            reckoning.take(LANE, place, outcome, None)
    return {each.what for each in reckoning.differences()}


def tally(first: int, upto: int, **outcomes: int) -> Tally:
    counts = Counter({Outcome(name): count for name, count in outcomes.items()})
    return Tally(LANE, first, upto, sum(outcomes.values()), counts)


def test_counters_that_agree_have_no_differences() -> None:
    both = [(0, Outcome.MESSAGE), (1, Outcome.DUPLICATE)]
    assert reckoned(tally(0, 1, message=1, duplicate=1), *both) == set()
    # What is not committed may be counted, or not.
    assert reckoned(tally(0, 1, message=1, duplicate=1), *both, upto=0) == set()
    assert reckoned(None, *both, upto=0) == set()
    # What came before there were counters is nobody's.
    assert reckoned(None, *both, starts=2) == set()


def test_counters_that_do_not_agree_are_told_by_what_differs() -> None:
    one = (0, Outcome.MESSAGE)
    assert reckoned(None, one) == {"not_counted"}
    assert reckoned(tally(1, 1, message=1), one, (1, Outcome.MESSAGE)) == {"not_counted"}
    assert reckoned(tally(0, 0, message=2), one) == {"received", "message"}
    assert reckoned(tally(0, 0, duplicate=1), one) == {"message", "duplicate"}
    assert reckoned(tally(0, 0, message=1), (0, Gap.LOST)) == {"lost", "message"}
    assert reckoned(Tally(LANE, 0, 0, 1), one) == {"unbalanced", "message"}


def test_the_counter_is_believed_of_what_is_there_no_more() -> None:
    expired = (0, Gap.EXPIRED)
    assert reckoned(tally(0, 1, message=1, fact=1), expired, (1, Outcome.FACT)) == set()
    assert reckoned(tally(0, 1, message=1, fact=1), expired, (1, Outcome.DUPLICATE)) == {
        "duplicate"
    }
    # The topic begins behind the first that was counted: Kafka has deleted it.
    rest = tally(0, 9, message=9, duplicate=1)
    assert reckoned(rest, (9, Outcome.MESSAGE), upto=0, topic_begins=5) == set()
    assert reckoned(rest, (9, Outcome.FACT), upto=0, topic_begins=5) == {"fact"}


def test_a_lane_is_named_by_tenant_day_topic_and_partition() -> None:
    assert Lane("t", date(2026, 6, 1), "inbound", 3).id == "t/2026-06-01/inbound/3"
