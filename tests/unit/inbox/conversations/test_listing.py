"""Cursors and search patterns."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inbox.decisions.listing import (
    Filters,
    Position,
    Sort,
    decode_position,
    encode_position,
    folded_pattern,
)
from shared.contracts.views import Status

AT = datetime(2026, 11, 23, 12, 0, 0, 123_000, tzinfo=UTC)


@pytest.mark.parametrize("value", [AT, None])
def test_cursor_leads_back_to_its_position(value: datetime | None):
    position = Position(value, "c1")
    cursor = encode_position(Sort.WINDOW, position)
    assert decode_position(Sort.WINDOW, cursor) == position
    assert decode_position(Sort.NEWEST, cursor) is None


@given(st.text())
def test_nonsense_is_no_cursor(cursor: str):
    found = decode_position(Sort.NEWEST, cursor)
    assert found is None or isinstance(found, Position)


@pytest.mark.parametrize(
    ("view", "asked", "order"),
    [
        (Status.ON_HOLD, None, Sort.WAITING),
        (Status.OPEN, None, Sort.NEWEST),
        (Status.CLOSED, Sort.WAITING, Sort.OLDEST),
        (Status.ON_HOLD, Sort.WINDOW, Sort.WINDOW),
    ],
)
def test_view_has_an_order_of_its_own(view: Status, asked: Sort | None, order: Sort):
    assert Filters(view, sort=asked).order is order


@pytest.mark.parametrize(
    ("words", "text", "found"),
    [
        ("pena", "Lucía PEÑA", True),
        ("peña", "Lucia Pena", True),
        ("lucía", "Luci\u0301a", True),
        ("a.b", "aXb", False),
        ("(x", "y (x)", True),
        ("strasse", "straße", False),
        ("ñandu", "NANDÚ", True),
    ],
)
def test_search_ignores_case_and_accents(words: str, text: str, found: bool):
    assert bool(re.search(folded_pattern(words), text, re.IGNORECASE)) is found


@given(st.text(max_size=100))
def test_every_word_is_a_pattern_that_mongodb_takes(words: str):
    pattern = folded_pattern(words)
    re.compile(pattern)
    assert len(pattern.encode(errors="replace")) < 32_000  # PCRE's limit
