"""A page of things in conversations, of which only those count that somebody sees."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from services.inbox.decisions.listing import Position, Sort, decode_position, encode_position
from services.inbox.model.errors import invalid
from services.inbox.storage.sights import Place

STEPS = (40, 200, 400)
"""Rows that are looked at, one after the other, until a page is full."""


class Timed(Protocol):
    """What a page is of."""

    @property
    def id(self) -> str: ...

    @property
    def at(self) -> datetime: ...


T = TypeVar("T", bound=Timed)


class Gathering(Generic[T]):
    """A page that fills, newest first; `after` is the last row that was looked at."""

    def __init__(self, limit: int, cursor: str | None) -> None:
        self._limit = limit
        self.after = None if cursor is None else _place(cursor)
        self.rows: list[T] = []
        self.full = False
        self._ended = False

    @property
    def asked(self) -> int:
        """As many as there is room for, and one that tells whether there are more."""
        return self._limit - len(self.rows) + 1

    def take(self, rows: Iterable[T], wanted: Callable[[T], bool]) -> None:
        """Those that are wanted, until there is one more than there is room for."""
        for row in rows:
            if wanted(row):
                if len(self.rows) == self._limit:
                    self.full = True
                    return
                self.rows.append(row)
            self.after = (row.at, row.id)

    def skip(self, until: Place) -> None:
        """Nothing is wanted up to there."""
        self.after = until

    def end(self) -> None:
        """There is nothing behind the last one."""
        self._ended = True

    @property
    def cursor(self) -> str | None:
        if self._ended or self.after is None:
            return None
        return encode_position(Sort.NEWEST, Position(*self.after))


def _place(cursor: str) -> Place:
    """Refuses with `validation` what is no cursor."""
    place = decode_position(Sort.NEWEST, cursor)
    if place is None or place.value is None:
        raise invalid("cursor", "invalid")
    return place.value, place.id
