from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.inbox.decisions.lockout import (
    Failures,
    LockoutRule,
    locked_until,
    network_of,
    wait_seconds,
)
from services.inbox.decisions.sessions import (
    MOST_REVOKED,
    MOST_STEPS,
    NotOurs,
    Over,
    RefreshVerdict,
    Repeat,
    Reused,
    Rotate,
    expiry,
    hash_secret,
    judge_refresh,
    outlived,
    read_refresh_token,
    with_revoked,
)
from services.inbox.model.sessions import RefreshToken, Session
from shared.ids import IdHasher

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
GRACE = timedelta(seconds=10)
IDS = IdHasher("secret")
SID = "5" * 32


def successor(secret: str) -> str:
    return IDS.of("refresh", SID, secret)


SECRETS = ["0" * 32]
for _ in range(6):
    SECRETS.append(successor(SECRETS[-1]))


def session(generation: int, **members: object) -> Session:
    made = Session(
        id=SID,
        tenant="t",
        agent="a",
        created_at=NOW - timedelta(days=1),
        used_at=NOW - timedelta(seconds=10),
        expires_at=NOW + timedelta(days=1),
        generation=generation,
        token_hash=hash_secret(SECRETS[generation]),
    )
    return replace(made, **members)  # type: ignore[arg-type]


def token(generation: int, secret: str | None = None) -> RefreshToken:
    return RefreshToken(SID, generation, secret or SECRETS[generation])


@pytest.mark.parametrize(
    ("held", "shown", "verdict"),
    [
        pytest.param(session(0), token(0), Rotate(token(1)), id="the first one"),
        pytest.param(session(4), token(4), Rotate(token(5)), id="the present one"),
        pytest.param(session(4), token(3), Repeat(token(4)), id="its answer was lost"),
        pytest.param(
            session(4, used_at=NOW - timedelta(seconds=11)), token(3), Reused(), id="too late"
        ),
        pytest.param(session(4), token(2), Reused(), id="an older one"),
        pytest.param(session(4), token(0), Reused(), id="the very first one"),
        pytest.param(session(4), token(4, "f" * 32), NotOurs(), id="guessed"),
        pytest.param(session(4), token(2, "f" * 32), NotOurs(), id="guessed as an old one"),
        pytest.param(session(4), token(3, SECRETS[4]), NotOurs(), id="a wrong generation"),
        pytest.param(session(4), token(5), NotOurs(), id="of the future"),
        pytest.param(
            replace(session(0), generation=MOST_STEPS + 1),
            token(0),
            NotOurs(),
            id="too far to follow",
        ),
        pytest.param(session(4, expires_at=NOW), token(4), Over(), id="expired"),
        pytest.param(session(4, revoked_at=NOW), token(4), Over(), id="revoked"),
        pytest.param(session(4, revoked_at=NOW), token(3), Over(), id="revoked, lost answer"),
    ],
)
def test_a_refresh_token_is_judged(
    held: Session, shown: RefreshToken, verdict: RefreshVerdict
) -> None:
    assert judge_refresh(held, shown, successor, now=NOW, grace=GRACE) == verdict


def test_a_refresh_token_is_read_as_it_was_written() -> None:
    assert read_refresh_token(token(3).text()) == token(3)


@pytest.mark.parametrize(
    "text",
    ["", "..", f"{SID}.1.", f"{SID}.-1.{SID}", f"{SID}.1.{SID}\n", f"{SID}.1.{'g' * 32}", "x" * 99],
)
def test_what_is_no_refresh_token_is_not_read(text: str) -> None:
    assert read_refresh_token(text) is None


def test_a_session_ends_by_idleness_or_by_age() -> None:
    def ends(age: timedelta) -> datetime:
        return expiry(NOW - age, NOW, idle=timedelta(days=14), life=timedelta(days=90))

    assert ends(timedelta(days=1)) == NOW + timedelta(days=14)
    assert ends(timedelta(days=80)) == NOW + timedelta(days=10)


def test_a_new_password_ends_the_sessions_before_it_and_not_the_one_it_begins() -> None:
    assert outlived(NOW, NOW + timedelta(milliseconds=1))
    assert not outlived(NOW, NOW)
    assert not outlived(NOW, None)


def test_revoked_sessions_are_named_until_their_tokens_are_dead() -> None:
    kept = timedelta(hours=1)
    held = {"old": NOW - kept, "new": NOW - timedelta(minutes=59)}
    assert with_revoked(held, "s", now=NOW, kept=kept) == {"new": held["new"], "s": NOW}
    many = {str(number): NOW for number in range(MOST_REVOKED)}
    assert with_revoked(many, "s", now=NOW, kept=kept) is None


@pytest.mark.parametrize(
    ("count", "seconds"),
    [
        pytest.param(0, None, id="none"),
        pytest.param(4, None, id="the last free one"),
        pytest.param(5, 30, id="the first lock"),
        pytest.param(6, 60, id="twice as long"),
        pytest.param(9, 480, id="and so on"),
        pytest.param(10, 900, id="up to the longest"),
        pytest.param(10_000_000, 900, id="for any number"),
    ],
)
def test_locks_grow_with_the_failures(count: int, seconds: int | None) -> None:
    until = locked_until(Failures(count, NOW), LockoutRule(5))
    assert until == (None if seconds is None else NOW + timedelta(seconds=seconds))


def test_nobody_is_locked_without_failures() -> None:
    assert locked_until(None, LockoutRule(1)) is None


@pytest.mark.parametrize(
    ("until", "seconds"),
    [
        pytest.param(None, 0, id="no lock"),
        pytest.param(NOW, 0, id="over"),
        pytest.param(NOW + timedelta(milliseconds=1), 1, id="a moment"),
        pytest.param(NOW + timedelta(seconds=29, milliseconds=1), 30, id="rounded up"),
    ],
)
def test_the_wait_is_told_in_whole_seconds(until: datetime | None, seconds: int) -> None:
    assert wait_seconds(until, NOW) == seconds


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        pytest.param("203.0.113.9", "203.0.113.9", id="v4"),
        pytest.param("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", id="v6 is a network"),
        pytest.param("fe80::1%eth0", "fe80::/64", id="v6 with a zone"),
        pytest.param("::ffff:203.0.113.9", "203.0.113.9", id="v4 in v6"),
        pytest.param("", "", id="a socket without one"),
        pytest.param("unix:", "unix:", id="no address"),
    ],
)
def test_an_address_is_counted_as_its_network(address: str, counted: str) -> None:
    assert network_of(address) == counted
