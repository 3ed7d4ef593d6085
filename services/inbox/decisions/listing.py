"""Which conversations a person is shown in a list, in which order, and where a page begins. Pure.

The answer is a query of plain values; `storage/conversations.py` has the index for each.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import orjson

from services.inbox.decisions.lifecycle import Refusal, Viewer
from shared.contracts.views import Priority, Status

Query = dict[str, Any]


class Scope(StrEnum):
    """Own chats, or all of the tenant."""

    MINE = "mine"
    ALL = "all"


class Sort(StrEnum):
    """`window`: whose 24-hour window closes first."""

    NEWEST = "newest"
    OLDEST = "oldest"
    WAITING = "waiting"
    WINDOW = "window"


ACTIVITY, WAITING, WINDOW = "last_message.at", "waiting_since", "window_minute"
SNOOZABLE = (Status.OPEN, Status.ON_HOLD)
# By the minute: a customer's next message within it moves nothing in the index.
_FIELDS = {
    Sort.NEWEST: ACTIVITY,
    Sort.OLDEST: ACTIVITY,
    Sort.WAITING: WAITING,
    Sort.WINDOW: WINDOW,
}


@dataclass(frozen=True, slots=True)
class Filters:
    """What a list is asked for. `sort` None: the view's own order."""

    view: Status
    scope: Scope = Scope.MINE
    sort: Sort | None = None
    agent: str | None = None
    team: str | None = None
    label: str | None = None
    unread: bool | None = None
    snoozed: bool | None = False
    """None: those too."""
    priority: Priority | None = None
    number: str | None = None
    since: datetime | None = None
    before: datetime | None = None
    q: str | None = None

    @property
    def order(self) -> Sort:
        """Only who is On Hold waits: elsewhere `waiting` is the order of the oldest."""
        if self.view is Status.ON_HOLD:
            return self.sort or Sort.WAITING
        return Sort.OLDEST if self.sort is Sort.WAITING else self.sort or Sort.NEWEST


@dataclass(frozen=True, slots=True)
class Position:
    """The last row of a page: its value in the order, and its id."""

    value: datetime | None
    id: str


@dataclass(frozen=True, slots=True)
class Selection:
    """A query and its order: `field` then `_id`, both in one direction."""

    query: Query
    field: str
    direction: int


def select(
    filters: Filters, viewer: Viewer, after: Position | None, now: datetime
) -> Selection | Refusal | None:
    """What to read; None: the list is empty whatever is stored.

    A snooze ends at its time by itself: `now` says which are over.
    """
    if filters.scope is Scope.ALL and not viewer.supervises:
        return Refusal("forbidden")
    sight = _sight(filters, viewer)
    if sight is None:
        return None
    query: Query = {
        "tenant": viewer.tenant,
        "status": filters.view.value,
        "deleted": False,
        **sight,
    }
    if filters.snoozed and filters.view not in SNOOZABLE:
        return None
    query.update(_members(filters, now))
    clauses: list[Query] = [*_span(filters)]
    words = (filters.q or "").replace("\0", "").strip()  # BSON has no NUL in patterns
    if words:
        clauses.append(_search(words))
    field, direction = _FIELDS[filters.order], -1 if filters.order is Sort.NEWEST else 1
    if after is not None:
        clauses.extend(_beyond(field, direction, after))
    if clauses:
        query["$and"] = clauses
    return Selection(query, field, direction)


def _members(filters: Filters, now: datetime) -> Query:
    """What a row must be, whoever looks."""
    query: Query = {}
    if filters.label is not None:
        query["labels"] = filters.label
    if filters.number is not None:
        query["number"] = filters.number
    if filters.unread is not None:
        query["unread"] = {"$gt": 0} if filters.unread else 0
    if filters.priority is not None:
        normal = filters.priority is Priority.NORMAL  # which is not stored
        query["priority"] = None if normal else filters.priority.value
    if filters.view in SNOOZABLE and filters.snoozed is not None:
        later = {"$gt": now}
        query["snoozed_until"] = later if filters.snoozed else {"$not": later}
    return query


def _span(filters: Filters) -> list[Query]:
    """The last message within the dates: from one on, before the other."""
    bounds = (("$gte", filters.since), ("$lt", filters.before))
    return [{ACTIVITY: {sign: moment}} for sign, moment in bounds if moment is not None]


def _sight(filters: Filters, viewer: Viewer) -> Query | None:
    """Own chats; On Hold of own teams or of no team; bot chats and the rest for supervisors."""
    query: Query = {}
    own = filters.scope is Scope.MINE and filters.view in (Status.OPEN, Status.CLOSED)
    if own:
        query["assignee"] = viewer.agent
    elif not viewer.supervises and filters.view is not Status.ON_HOLD:
        return None
    elif not viewer.supervises:
        query["team"] = {"$in": [None, *sorted(viewer.teams)]}
    if filters.agent is not None:
        if own and filters.agent != viewer.agent:
            return None
        query["assignee"] = filters.agent
    if filters.team is not None:
        teams = query.get("team")
        if teams is not None and filters.team not in teams["$in"]:
            return None
        query["team"] = filters.team
    return query


def _beyond(field: str, direction: int, after: Position) -> list[Query]:
    """The rows behind a position. The bound on the field alone narrows the index scan."""
    beyond = "$gt" if direction > 0 else "$lt"
    ties: Query = {field: after.value, "_id": {beyond: after.id}}
    if after.value is None:
        # Rows without the value come first, and only in rising orders.
        return [{"$or": [ties, {field: {"$ne": None}}]}]
    return [
        {field: {f"{beyond}e": after.value}},
        {"$or": [{field: {beyond: after.value}}, ties]},
    ]


# -- search


def _search(words: str) -> Query:
    """Name, username or last line containing the words, or a phone that begins with them."""
    pattern = {"$regex": folded_pattern(words), "$options": "i"}
    ways: list[Query] = [
        {"contact.name": pattern},
        {"contact.username": pattern},
        {"last_message.text": pattern},
    ]
    digits = re.sub(r"[\s().+-]", "", words)
    if digits.isascii() and digits.isdigit():
        ways.append({"contact.wa_id": {"$regex": f"^{digits}"}})
    return {"$or": ways}


def _variants() -> dict[str, str]:
    """Base letter -> the letters of Latin scripts that are it with an accent."""
    found: dict[str, set[str]] = {}
    for code in range(0xC0, 0x250):
        letter = chr(code)
        base = unicodedata.normalize("NFD", letter)[0]
        if base != letter and base.isalpha():
            found.setdefault(base.lower(), set()).update((letter.lower(), letter.upper()))
    return {base: "".join(sorted(c for c in each if len(c) == 1)) for base, each in found.items()}


_LETTERS = _variants()
_ACCENTS = "[\u0300-\u036f]*"


def folded_pattern(words: str) -> str:
    """A pattern for the words whatever their accents, composed or not."""
    parts: list[str] = []
    for letter in unicodedata.normalize("NFD", words):
        if unicodedata.combining(letter):
            continue
        low = letter.lower()
        others = _LETTERS.get(low)
        if others:
            parts.append(f"[{low}{letter.upper()}{others}]{_ACCENTS}")
        else:
            parts.append(re.escape(letter))
    return "".join(parts)


# -- cursors


def encode_position(order: Sort, position: Position) -> str:
    """An opaque cursor; it belongs to one order."""
    value = None if position.value is None else int(position.value.timestamp() * 1000)
    packed = orjson.dumps([order.value, value, position.id])
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def decode_position(order: Sort, cursor: str) -> Position | None:
    """The position of a cursor; None for what is no cursor of this order."""
    try:
        packed = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        sort, value, place = orjson.loads(packed)
        moment = None if value is None else datetime.fromtimestamp(value / 1000, UTC)
    except (binascii.Error, ValueError, TypeError, OverflowError, OSError):
        return None
    return Position(moment, place) if sort == order and isinstance(place, str) else None
