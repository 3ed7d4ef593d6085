import pytest

from shared.contracts.errors import EnvelopeError, PermanentError
from shared.contracts.records import InRecord
from shared.contracts.topics import INBOUND
from shared.kafka.dead_letters import dead_letter, dead_topic
from shared.kafka.failure import FailurePolicy, FailureTally, Rejected, rejected_by


def tally(**limits: float) -> FailureTally:
    return FailureTally(FailurePolicy(**limits))  # type: ignore[arg-type]


def read(key: bytes | None = b"k", value: bytes | None = b"v") -> InRecord:
    return InRecord("p.whatsapp.inbound.v1", 2, 7, key, value, (("h", b"\xff"),), 1234)


def test_rejections_in_a_row_stop_above_the_limit() -> None:
    counted = tally(max_consecutive=3)
    assert [counted.rejected() for _ in range(4)] == [None, None, None, "too_many_consecutive"]


def test_a_good_record_ends_the_row() -> None:
    counted = tally(max_consecutive=3)
    for _ in range(10):
        assert counted.rejected() is None
        counted.handled(1)


def test_no_good_records_do_not_end_the_row() -> None:
    counted = tally(max_consecutive=1)
    assert counted.rejected() is None
    counted.handled(0)
    assert counted.rejected() == "too_many_consecutive"


def test_the_ratio_is_judged_once_the_window_is_full() -> None:
    counted = tally(max_dead_ratio=0.1, window=100, max_consecutive=1000)
    for _ in range(50):
        assert counted.rejected() is None
    counted.handled(49)
    assert counted.rejected() == "dead_ratio_exceeded"


def test_old_rejections_leave_the_window() -> None:
    counted = tally(max_dead_ratio=0.1, window=100, max_consecutive=1000)
    for _ in range(90):
        counted.rejected()
    for _ in range(10):
        counted.handled(100)
    assert counted.rejected() is None


@pytest.mark.parametrize(
    ("error", "kind", "reason", "stage"),
    [
        pytest.param(PermanentError("no_good"), "permanent", "no_good", "PermanentError", id="own"),
        pytest.param(
            EnvelopeError("ce_id is missing"),
            "permanent",
            "bad_envelope",
            "EnvelopeError",
            id="the stage is in the type",
        ),
        pytest.param(KeyError("+34600000000"), "bug", "KeyError", "handle", id="bug, no message"),
    ],
)
def test_an_exception_becomes_a_rejection(
    error: Exception, kind: str, reason: str, stage: str
) -> None:
    rejected = rejected_by(read(), error)
    assert (rejected.kind, rejected.reason, rejected.stage) == (kind, reason, stage)


def test_a_dead_letter_keeps_the_record_and_tells_why() -> None:
    copy = dead_letter(dead_topic(INBOUND), Rejected(read(), "no_good", stage="fold"))
    assert copy.topic.name("p.", "big") == "p.whatsapp.inbound.v1.big.dead"
    assert (copy.key, copy.value) == (b"k", b"v")
    assert copy.headers == [
        ("h", b"\xff"),
        ("atrio_dead_reason", b"no_good"),
        ("atrio_dead_stage", b"fold"),
        ("atrio_dead_source", b"p.whatsapp.inbound.v1/2/7"),
        ("atrio_dead_kind", b"permanent"),
        ("atrio_dead_timestamp", b"1234"),
    ]


def test_a_tombstone_stays_one_and_a_record_of_nothing_gets_an_empty_value() -> None:
    dead = dead_topic(INBOUND)
    assert dead_letter(dead, Rejected(read(value=None), "x")).value is None
    assert dead_letter(dead, Rejected(read(key=None, value=None), "x")).value == b""
