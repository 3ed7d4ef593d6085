"""Which conversations a person is shown in a list, in which order, and where a page begins. Pure.

The answer is a query of plain values; `storage/conversations.py` has the index for each.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import orjson

from services.inbox.decisions.finding import Sought, sought
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


ACTIVITY, WAITING, WINDOW = "last_message.at", "waiting_since", "window_closes_at"
SNOOZABLE = (Status.OPEN, Status.ON_HOLD)
_FEW_OF_MANY, _FEW_OF_VERY_MANY = 700, 3000
_ORDERS = {ACTIVITY: "activity", WAITING: "waiting", WINDOW: "closing"}
_OF_CLOSED = {"labels": "closed_label", "number": "closed_number", "team": "closed_team"}
_OF_ACTIVE = {"labels": "active_label", "number": "active_number", "team": "active_team"}
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
class Way:
    """An index that has a selection's rows, and the part of the query that it answers alone.

    Where it does not have them in order they can only be gathered, and only few of them.
    """

    index: str
    bounds: Query
    ordered: bool = True


@dataclass(frozen=True, slots=True)
class Selection:
    """A query and its order: `field` then `_id`, both in one direction.

    One way at least has its rows in order; of long ones the earlier is better. `place` is what the
    query says of the order's field: where the page begins, dates. `sought` is no part of the
    query: of its rows only those are wanted that show the words.
    """

    query: Query
    field: str
    direction: int
    ways: tuple[Way, ...]
    place: tuple[Query, ...] = ()
    sought: Sought | None = None

    @property
    def few(self) -> int:
        """Rows that take no longer to gather than it takes to walk to a page of more of them."""
        whole = self.query["status"] == Status.CLOSED and "assignee" not in self.query
        return _FEW_OF_VERY_MANY if whole else _FEW_OF_MANY

    def bounds(self, way: Way) -> Query:
        """The part of the query that an index answers alone."""
        return {**way.bounds, "$and": [*self.place]} if self.place else way.bounds


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
    words = (filters.q or "").replace("\0", "").strip()
    wanted = sought(words)
    if words and wanted is None:
        return None
    dates = _span(filters)
    field, direction = _FIELDS[filters.order], -1 if filters.order is Sort.NEWEST else 1
    beyond = [] if after is None else _beyond(field, direction, after)
    ways = _ways(query, field, dates)
    if dates or beyond:
        query["$and"] = [*dates, *beyond]
    place = (*dates, *beyond) if field == ACTIVITY else tuple(beyond)
    return Selection(query, field, direction, ways, place, wanted)


def _ways(query: Query, field: str, dates: list[Query]) -> tuple[Way, ...]:
    """The indexes of the filters, and that of the order."""
    base = {name: query[name] for name in ("tenant", "status", "deleted")}
    holder = {"assignee": query["assignee"]} if "assignee" in query else {}
    filters = _filter_ways(query, field, base, holder)
    if dates and field != ACTIVITY:
        name = "mine_activity" if holder else "all_activity"
        filters.append(Way(name, {**base, **holder, "$and": dates}, ordered=False))
    order = _ORDERS[field]
    if holder and field == WAITING:  # nobody holds who waits
        return (Way("mine_activity", {**base, **holder}, ordered=False), Way("all_waiting", base))
    if holder:
        return (Way(f"mine_{order}", {**base, **holder}), *filters)
    if field == WAITING and "team" in query:
        return (Way("queue_waiting", {**base, "team": query["team"]}), *filters)
    return (*filters, Way(f"all_{order}", base))


def _filter_ways(query: Query, field: str, base: Query, holder: Query) -> list[Way]:
    """Where there are few rows with a member. Those of closed chats have an order."""
    ways: list[Way] = []
    if query.get("has_unread"):
        ways.append(Way("has_unread", {**base, **holder, "has_unread": True}, ordered=False))
    if "$gt" in query.get("snoozed_until", ()):
        asleep = {"snoozed_until": query["snoozed_until"]}
        ways.append(Way("asleep", {**base, **holder, **asleep}, ordered=False))
    if query.get("priority"):
        priority = {"priority": query["priority"]}
        ways.append(Way("priority", {**base, **priority}, ordered=False))
    closed = query["status"] == Status.CLOSED
    indexes = _OF_CLOSED if closed else _OF_ACTIVE
    ways += [
        Way(index, {**base, member: query[member]}, ordered=closed and field == ACTIVITY)
        for member, index in indexes.items()
        if isinstance(query.get(member), str)
    ]
    return ways


def _members(filters: Filters, now: datetime) -> Query:
    """What a row must be, whoever looks."""
    query: Query = {}
    if filters.label is not None:
        query["labels"] = filters.label
    if filters.number is not None:
        query["number"] = filters.number
    if filters.unread is not None:
        query["has_unread"] = True if filters.unread else None  # which is not stored
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


def counted(query: Query) -> list[tuple[int, str, Query]]:
    """Counts whose sum is that of a list's rows: sign, index, query. Each by its index alone.

    An index does not tell a chat without team from one that has no such member, so that those
    without are what is left of all.
    """
    teams = query.get("team")
    if not isinstance(teams, dict):
        return [(1, _count_index(query), query)]
    base = {name: value for name, value in query.items() if name != "team"}
    parts = [(1, base), (-1, {**base, "team": {"$gt": ""}})]
    own = [each for each in teams["$in"] if each is not None]
    if own:
        parts.append((1, {**base, "team": {"$in": own}}))
    return [(sign, _count_index(part), part) for sign, part in parts]


def _count_index(query: Query) -> str:
    if "snoozed_until" in query:
        return "asleep"
    if "has_unread" in query:
        return "has_unread"
    if "team" in query:
        return "queue_waiting"
    return "mine_activity" if "assignee" in query else "all_activity"


def sight_query(viewer: Viewer) -> Query:
    """All that somebody sees, as `lifecycle.sees` says of one."""
    query: Query = {"tenant": viewer.tenant, "deleted": False}
    if viewer.supervises:
        return query
    return {**query, "$or": [part for _, part in _parts(viewer)]}


def own_queries(viewer: Viewer) -> list[tuple[str, Query]]:
    """The same of an agent in parts, each with its index."""
    whole: Query = {"tenant": viewer.tenant, "deleted": False}
    return [(index, {**whole, **part}) for index, part in _parts(viewer)]


def _parts(viewer: Viewer) -> list[tuple[str, Query]]:
    return [
        ("mine_activity", {"status": Status.OPEN.value, "assignee": viewer.agent}),
        ("mine_activity", {"status": Status.CLOSED.value, "assignee": viewer.agent}),
        (
            "queue_waiting",
            {"status": Status.ON_HOLD.value, "team": {"$in": [None, *sorted(viewer.teams)]}},
        ),
    ]


def _beyond(field: str, direction: int, after: Position) -> list[Query]:
    """The rows behind a position. The bound on the field alone narrows the index scan."""
    beyond, not_beyond = ("$gte", "$lte") if direction > 0 else ("$lte", "$gte")
    # Not as a choice of two bounds: the planner would try an index for each, and sort.
    seen: Query = {"$nor": [{field: after.value, "_id": {not_beyond: after.id}}]}
    # Rows without the value come first, and only in rising orders.
    return [seen] if after.value is None else [{field: {beyond: after.value}}, seen]


def until(selection: Selection, end: Position) -> list[Query]:
    """The rows of a selection up to a position."""
    field, rising = selection.field, selection.direction > 0
    if end.value is None:
        return [{field: None, "_id": {"$lte": end.id}}]
    beyond: Query = {field: end.value, "_id": {"$gt" if rising else "$lt": end.id}}
    return [{field: {"$lte" if rising else "$gte": end.value}}, {"$nor": [beyond]}]


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
