"""A changed copy of a frozen dataclass, cheaply."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")


def evolve(instance: T, **changes: Any) -> T:
    """As `dataclasses.replace`, for dataclasses without slots and `__post_init__`.

    A conversation is copied two or three times for each message: 0.6 us each time instead of
    the 7 us of `replace` with its thirty fields.
    """
    copy = object.__new__(type(instance))
    members = copy.__dict__
    members.update(instance.__dict__)
    members.update(changes)
    return copy
