"""Cursors and search patterns."""

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
