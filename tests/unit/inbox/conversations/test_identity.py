"""Whom a webhook is about, and when two are one."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.inbox.decisions.identity import (
    Identity,
    IdentityKind,
    absorbed,
    identities,
    is_another,
    moved,
    nobody,
    origin,
    refreshed,
)
from services.inbox.model.contact import Contact
from services.inbox.model.conversation import ContactSnapshot
from services.inbox.model.items import Person
from shared.contracts.phones import digits_of, is_same_phone

LONG, SHORT = "5511987654321", "551187654321"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param("5511900000001", "551100000001", True, id="brazil"),
        pytest.param("5511987654321", "551187654321", True, id="brazil-mobile"),
        pytest.param("5215500000001", "525500000001", True, id="mexico"),
        pytest.param("5491100000001", "541100000001", True, id="argentina"),
        pytest.param("12025550111", "12025550112", False, id="two-phones"),
        pytest.param("+1 (202) 555-0111", "12025550111", True, id="as-people-write"),
        pytest.param("", "", True, id="empty"),
    ],
)
def test_two_spellings_are_one_phone(one: str, other: str, same: bool):
    assert is_same_phone(one, other) is same


@pytest.mark.parametrize(
    ("written", "digits"),
    [
        pytest.param("+12025550111", "12025550111", id="plus"),
        pytest.param("group-12", "group-12", id="no-phone"),
        pytest.param("\u0661\u0662", "\u0661\u0662", id="other-digits"),
    ],
)
def test_digits_are_those_of_a_phone(written: str, digits: str):
    assert digits_of(written) == digits


@pytest.mark.parametrize("wa_id", ["5511900000001", "551100000001", "+55 11 90000-0001"])
def test_regression_spellings_met_at_once_make_one_contact(wa_id: str):
    """Two pods that know nothing of each other derive the same contact."""
    found = identities(Person(wa_id=wa_id))

    assert origin(found) == Identity(IdentityKind.PHONE, "551100000001")
    assert found[-1] == Identity(IdentityKind.SPELLING, "551100000001")


def test_bsuid_goes_before_the_phone():
    found = identities(Person(user_id="US.1", wa_id="12025550111"))

    assert [each.kind for each in found] == [IdentityKind.USER, IdentityKind.PHONE]
    assert origin(found) == Identity(IdentityKind.USER, "US.1")


@pytest.mark.parametrize(
    ("kind", "user", "known", "phone", "expected"),
    [
        pytest.param(IdentityKind.SPELLING, "BR.1", "BR.2", None, True, id="two-users"),
        pytest.param(IdentityKind.SPELLING, "BR.1", "BR.1", None, False, id="one-user"),
        pytest.param(IdentityKind.SPELLING, None, "BR.2", None, False, id="phone-alone"),
        pytest.param(IdentityKind.PHONE, "BR.1", "BR.2", None, False, id="hidden-since"),
        pytest.param(IdentityKind.PHONE, "BR.1", "BR.2", SHORT, False, id="the-very-phone"),
        pytest.param(IdentityKind.PHONE, "BR.1", "BR.2", LONG, False, id="other-spelling"),
        pytest.param(IdentityKind.PHONE, "BR.1", "BR.2", "12025550111", True, id="left"),
        pytest.param(IdentityKind.PHONE, None, "BR.2", "12025550111", False, id="left-alone"),
        pytest.param(IdentityKind.PHONE, "BR.1", None, "12025550111", False, id="never-shown"),
    ],
)
def test_a_phone_leads_to_its_user_alone(
    kind: IdentityKind, user: str | None, known: str | None, phone: str | None, expected: bool
):
    shown = ContactSnapshot("k1", wa_id=phone, user_id=known)
    assert is_another(Identity(kind, SHORT), user, shown) is expected


@pytest.mark.parametrize(
    ("phone", "expected"),
    [
        pytest.param(None, False, id="whose-phone-was-hidden"),
        pytest.param(LONG, False, id="with-that-phone"),
        pytest.param("12025550111", True, id="with-another-phone"),
    ],
)
def test_who_comes_from_another_phone_is_not_who_has_this_one(phone: str | None, expected: bool):
    own = ContactSnapshot("k1", wa_id=phone, user_id="BR.1")
    holder = ContactSnapshot("k2", wa_id=SHORT, user_id="BR.2")
    assert is_another(Identity(IdentityKind.PHONE, SHORT), "BR.1", holder, own) is expected


NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def _moved(*moves: tuple[str, str, datetime]) -> Contact:
    contact = Contact("k1", "t", 1, NOON, user_id="US.1")
    for previous, current, at in moves:
        contact = moved(contact, Person(previous), Person(current), at)
    return contact


@pytest.mark.parametrize(
    ("user_id", "at", "shown"),
    [
        pytest.param("US.1", NOON - HOUR, "US.2", id="said-before"),
        pytest.param("US.1", NOON, "US.2", id="said-in-the-same-second"),
        pytest.param("US.1", NOON + HOUR, "US.1", id="said-after-it"),
        pytest.param("US.3", NOON - HOUR, "US.3", id="new-to-us"),
    ],
)
def test_regression_a_bsuid_that_was_left_does_not_come_back(
    user_id: str, at: datetime, shown: str
):
    contact = _moved(("US.1", "US.2", NOON))

    assert refreshed(contact, Person(user_id), at).user_id == shown


@pytest.mark.parametrize("repeated", [False, True])
def test_regression_moves_may_be_told_in_any_order_and_again(repeated: bool):
    first, second = ("US.1", "US.2", NOON), ("US.2", "US.3", NOON + HOUR)
    contact = _moved(second, first, *([second, first] if repeated else []))

    assert (contact.user_id, contact.moved_at) == ("US.3", NOON + HOUR)
    assert set(contact.former) == {"US.1", "US.2"}


def test_who_moves_back_is_known_as_before():
    there = ("US.1", "US.2", NOON)
    back = ("US.2", "US.1", NOON + HOUR)

    contact = _moved(there, back, there)

    assert (contact.user_id, contact.former) == ("US.1", ("US.2",))


def test_regression_a_move_that_is_told_again_does_not_move_who_wrote_since():
    move = ("US.1", "US.2", NOON)
    back = refreshed(_moved(move), Person("US.1"), NOON + HOUR)

    assert moved(back, Person("US.1"), Person("US.2"), NOON).user_id == "US.1"


def test_regression_nobody_is_one_contact_without_an_address():
    """Else an answer would go to WhatsApp, to a BSUID that we made up."""
    contact = refreshed(Contact("k1", "t", 0, NOON), nobody("n1"), NOON)

    assert (contact.user_id, contact.wa_id) == (None, None)
    assert identities(nobody("n1")) != identities(nobody("n2")) != ()


def _contact(identifier: str, **members: Any) -> Contact:
    at = datetime(2026, 6, 1, tzinfo=UTC)
    return Contact(id=identifier, tenant="acme", version=1, created_at=at, **members)


def test_two_contacts_that_are_one_user_keep_what_agents_gave_them():
    kept = _contact("a", labels=("vip",), attributes={"city": "Lima"}, notes="pays late")
    merged = _contact(
        "b", labels=("new", "vip"), attributes={"city": "Quito", "plan": "pro"}, notes="likes tea"
    )

    once = absorbed(kept, merged)

    assert once.labels == ("vip", "new")
    assert once.attributes == {"city": "Lima", "plan": "pro"}
    assert once.notes == "pays late\n\nlikes tea"
    assert once.id == "a"
    assert absorbed(once, merged) == once


@pytest.mark.parametrize(("one", "other"), [(True, False), (False, True)])
def test_who_was_blocked_as_one_of_two_contacts_is_blocked(one: bool, other: bool):
    assert absorbed(_contact("a", blocked=one), _contact("b", blocked=other)).blocked
