"""An index serves each list and count, without a sort."""

import itertools
import json
from typing import Any

from services.inbox.app.foundation import now
from services.inbox.decisions.finding import Sought, kept_query, shown
from services.inbox.decisions.lifecycle import Viewer
from services.inbox.decisions.listing import (
    Filters,
    Position,
    Scope,
    Selection,
    Sort,
    Way,
    counted,
    select,
    until,
)
from services.inbox.storage.blocked import blocked_query
from services.inbox.storage.contacts import CONTACTS
from services.inbox.storage.conversations import SEARCH, WORDS
from services.inbox.storage.entries import CONVERSATIONS
from services.inbox.storage.listing import order_of
from shared.contracts.views import Priority, Role, Status
from tests.integration.inbox.conversations.office import days_ago


def _selections() -> list[Any]:
    agent = Viewer("a1", "t1", Role.AGENT, frozenset({"x1", "x2"}))
    boss = Viewer("s1", "t1", Role.SUPERVISOR, frozenset())
    cases = []
    for viewer, scopes in ((agent, [Scope.MINE]), (boss, list(Scope))):
        for scope in scopes:
            for view in Status:
                for sort in Sort:
                    for after in (None, Position(now(), "c1"), Position(None, "c1")):
                        if after and after.value is None and sort is Sort.NEWEST:
                            continue
                        selection = select(Filters(view, scope, sort), viewer, after, now())
                        if isinstance(selection, Selection):
                            name = f"{viewer.role}-{scope}-{view}-{sort}-{after and after.value}"
                            cases.append((name, selection))
    for filters in (
        {"agent": "a1"},
        {"team": "x1"},
        {"label": "l1"},
        {"unread": True},
        {"snoozed": True},
        {"priority": Priority.HIGH},
        {"sort": Sort.WINDOW, "since": days_ago(2), "before": days_ago(1)},
        {"sort": Sort.WINDOW, "number": "n1", "agent": "a1"},
        {"number": "n1"},
        {"since": days_ago(2), "before": days_ago(1)},
        {"q": "ana"},
    ):
        for view in (Status.OPEN, Status.ON_HOLD, Status.CLOSED):
            selection = select(Filters(view, Scope.ALL, **filters), boss, None, now())  # type: ignore[arg-type]
            if selection is not None:
                cases.append((f"{filters}-{view}", selection))
    return cases


async def _stages(database: Any, selection: Selection, way: Way) -> list[str]:
    """The plans of a page by one way, and of the walk that is taken where it is long."""
    rows = database[CONVERSATIONS]
    if not way.ordered:
        reads = [rows.find(selection.query)]
    else:
        order = order_of(selection)
        words = shown(Sought(("ana",), None))
        within = until(selection, Position(now(), "c1"))
        wanted = {"$and": [selection.query, words, *within]}
        reads = [
            rows.find(selection.query).sort(order).limit(51),
            rows.find(wanted).sort(order).limit(51),
            rows.find(selection.bounds(way), {selection.field: 1}).sort(order).skip(9).limit(1),
        ]
    plans = [await each.hint(way.index).explain() for each in reads]
    return [json.dumps(plan["queryPlanner"]["winningPlan"], default=str) for plan in plans]


async def test_each_list_has_an_index_and_no_sort(inbox: Any):
    database = inbox.service._base.database
    wrong: list[Any] = []
    for name, selection in _selections():
        assert any(way.ordered for way in selection.ways), name
        for way in selection.ways:
            wrong += [
                (name, way)
                for stages in await _stages(database, selection, way)
                if '"COLLSCAN"' in stages or '"SORT"' in stages or way.index not in stages
            ]
            if len(selection.ways) > 1:
                counted = {"count": CONVERSATIONS, "query": way.bounds, "hint": way.index}
                plan = await database.command({"explain": counted, "verbosity": "queryPlanner"})
                if "FETCH" in json.dumps(plan["queryPlanner"]["winningPlan"], default=str):
                    wrong.append((name, way, "is counted by its documents"))
    assert wrong == []


async def test_words_have_an_index(inbox: Any):
    database = inbox.service._base.database
    for collection in (CONTACTS, SEARCH):
        found = database[collection].find(kept_query("t1", "ana")).hint(WORDS)
        stages = json.dumps((await found.explain())["queryPlanner"]["winningPlan"], default=str)
        assert '"COLLSCAN"' not in stages
        assert '"words": ["[MinKey' not in stages


async def test_counts_and_other_queries_are_indexed(inbox: Any):
    database = inbox.service._base.database
    boss = Viewer("s1", "t1", Role.SUPERVISOR, frozenset())
    agent = Viewer("a1", "t1", Role.AGENT, frozenset({"x1"}))
    queries: list[Any] = [
        {"tenant": "t1", "contact.id": "c1", "deleted": False},
        {"status": {"$in": ["bot", "on_hold", "open"]}, "tenant": {"$gte": ""}},
        {"status": {"$in": ["bot", "on_hold", "open"]}, "tenant": "t1", "_id": {"$gt": "c1"}},
    ]
    for viewer, scope in ((boss, Scope.ALL), (agent, Scope.MINE)):
        for view, unread in itertools.product(Status, (None, True)):
            filters = Filters(view, scope, unread=unread, snoozed=None)
            selection = select(filters, viewer, None, now())
            for _, index, query in counted(selection.query) if selection else ():
                command = {"count": CONVERSATIONS, "query": query, "hint": index}
                plan = await database.command({"explain": command, "verbosity": "queryPlanner"})
                stages = json.dumps(plan["queryPlanner"]["winningPlan"], default=str)
                assert "FETCH" not in stages, query
    for query in queries:
        plan = await database.command(
            {"explain": {"count": CONVERSATIONS, "query": query}, "verbosity": "queryPlanner"}
        )
        stages = json.dumps(plan["queryPlanner"]["winningPlan"], default=str)
        assert '"COLLSCAN"' not in stages, query
    active = {"status": {"$in": ["bot", "on_hold", "open"]}, "tenant": {"$gte": "t1"}}
    beyond = [{"tenant": {"$gt": "t1"}}, {"tenant": "t1", "_id": {"$gt": "c1"}}]
    sorted_reads = [
        (CONVERSATIONS, active, [("tenant", 1), ("_id", 1)]),
        (CONVERSATIONS, {**active, "$or": beyond}, [("tenant", 1), ("_id", 1)]),
        ("messages", {"tenant": "t1", "conversation": "c1", "seq": {"$lt": 9}}, [("seq", -1)]),
        ("activities", {"tenant": "t1", "conversation": "c1", "v": {"$lt": 9}}, [("v", -1)]),
        (CONTACTS, blocked_query("t1", None), [("blocked_at", -1), ("_id", -1)]),
        (CONTACTS, blocked_query("t1", (now(), "c1")), [("blocked_at", -1), ("_id", -1)]),
    ]
    for collection, query, order in sorted_reads:
        plan = await database[collection].find(query).sort(order).explain()
        stages = json.dumps(plan["queryPlanner"]["winningPlan"], default=str)
        assert '"COLLSCAN"' not in stages
        assert '"SORT"' not in stages


# -- threads
