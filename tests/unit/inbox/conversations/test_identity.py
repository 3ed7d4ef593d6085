"""Whom a webhook is about, and when two are one."""

from datetime import UTC, datetime
from typing import Any

import pytest

from services.inbox.decisions.identity import (
    Identity,
    IdentityKind,
    absorbed,
    identities,
    is_another,
    origin,
)
from services.inbox.model.contact import Contact
from services.inbox.model.items import Person
from shared.contracts.phones import digits_of, is_same_phone


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
    ("kind", "user", "known", "expected"),
    [
        pytest.param(IdentityKind.SPELLING, "BR.1", "BR.2", True, id="two-users"),
        pytest.param(IdentityKind.SPELLING, "BR.1", "BR.1", False, id="one-user"),
        pytest.param(IdentityKind.SPELLING, None, "BR.2", False, id="phone-alone"),
        pytest.param(IdentityKind.PHONE, "BR.1", "BR.2", False, id="the-very-phone"),
    ],
)
def test_alike_phones_of_two_users_are_two(
    kind: IdentityKind, user: str | None, known: str | None, expected: bool
):
    assert is_another(Identity(kind, "551132345678"), user, known) is expected


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
