from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier.decisions.feed import (
    audience,
    audiences,
    can_resume,
    change_for,
    choose_scope,
    hash_tags,
    heard_by,
    may_stream,
    merge,
    origin_allowed,
    read_cursor,
    streams_to_read,
    tags_of,
    write_cursor,
)
from services.notifier.model import (
    ALL,
    Agent,
    Change,
    Claims,
    CloseCode,
    Cursor,
    Entry,
    Page,
    Position,
    Scope,
)
from shared.contracts.views import Role


def agent(name: str = "ana", role: Role = Role.AGENT, teams: tuple[str, ...] = ()) -> Agent:
    return Agent("t", name, name.title(), role, teams, 0.0)


@pytest.mark.parametrize(
    ("status", "assignee", "team", "seen_by"),
    [
        pytest.param("on_hold", None, None, {"queue:none"}, id="on-hold-of-no-team"),
        pytest.param("on_hold", None, "t1", {"queue:t1"}, id="on-hold-of-a-team"),
        pytest.param("open", "ana", "t1", {"agent:ana"}, id="open-is-the-holders"),
        pytest.param("closed", "ana", "t1", {"agent:ana"}, id="closed-is-the-last-holders"),
        pytest.param("closed", None, "t1", set(), id="closed-without-holder"),
        pytest.param("bot", None, None, set(), id="bot"),
        pytest.param("bot", "ana", "t1", set(), id="bot-after-a-holder"),
        pytest.param(None, None, None, set(), id="not-there-yet"),
        pytest.param("of-a-later-version", "ana", None, set(), id="unknown-status"),
    ],
)
def test_audience(
    status: str | None, assignee: str | None, team: str | None, seen_by: set[str]
) -> None:
    assert audience(status, assignee, team) == seen_by


def before(status: str | None, assignee: str | None = None, team: str | None = None) -> Any:
    return {"status": status, "assignee": assignee, "team": team}


def state(status: str, assignee: str | None = None, team: str | None = None) -> Any:
    return {
        "status": status,
        "assignee": assignee and {"id": assignee},
        "team": team and {"id": team},
    }


@pytest.mark.parametrize(
    ("kind", "was", "now", "ana", "everything"),
    [
        pytest.param(
            "message.received", before(None), state("on_hold"), "enter", "enter", id="first"
        ),
        pytest.param(
            "message.received", before(None), state("on_hold", team="t1"), None, "enter",
            id="first-of-another-team",
        ),
        pytest.param(
            "conversation.assigned", before("on_hold"), state("open", "ana"), "update", "update",
            id="accepted",
        ),
        pytest.param(
            "conversation.assigned", before("on_hold"), state("open", "luis"), "leave", "update",
            id="accepted-by-another",
        ),
        pytest.param(
            "conversation.transferred", before("open", "luis"), state("open", "ana"), "enter",
            "update", id="transferred-to-me",
        ),
        pytest.param(
            "conversation.bot_activated", before("open", "ana"), state("bot"), "leave", "update",
            id="back-to-the-bot",
        ),
        pytest.param(
            "conversation.closed", before("open", "ana"), state("closed", "ana"), "update",
            "update", id="closed",
        ),
        pytest.param(
            "message.received", before("closed", "ana"), state("on_hold", team="t1"), "leave",
            "update", id="a-new-episode-in-a-team",
        ),
        pytest.param(
            "conversation.deleted", before("closed", "ana"), state("closed", "ana"), "leave",
            "leave", id="deleted",
        ),
        pytest.param(
            "message.status", before("open", "luis"), state("open", "luis"), None, "update",
            id="not-mine",
        ),
    ],
)  # fmt: skip
def test_change(kind: str, was: Any, now: Any, ana: str | None, everything: str) -> None:
    pair = audiences(kind, was, now)
    assert change_for(*pair, tags_of(agent(), Scope.MINE)) == ana
    assert change_for(*pair, tags_of(agent("sol", Role.ADMIN), Scope.ALL)) == everything


PLACES = st.one_of(
    st.just(("bot", None)),
    st.just(("on_hold", None)),
    st.tuples(st.sampled_from(["open", "closed"]), st.sampled_from(["ana", "luis"])),
)
MOVES = st.lists(
    st.tuples(PLACES, st.sampled_from([None, "t1", "t2"]), st.booleans()), min_size=1, max_size=12
)


@given(
    moves=MOVES,
    start=st.integers(0, 12),
    teams=st.sets(st.sampled_from(["t1", "t2"])),
    role=st.sampled_from(list(Role)),
    scope=st.sampled_from(list(Scope)),
)
def test_a_snapshot_plus_the_feed_equals_entitlement_at_rest(
    moves: Any, start: int, teams: set[str], role: Role, scope: Scope
) -> None:
    tags = tags_of(agent("ana", role, tuple(teams)), scope)
    states = [before(None)] + [before(s, a, t) for (s, a), t, _ in moves]

    def entitled(at: Any) -> bool:
        seen = audience(at["status"], at["assignee"], at["team"])
        return at["status"] is not None and not tags.isdisjoint(seen | {ALL})

    start = min(start, len(moves))
    has = entitled(states[start])
    for was, now in zip(states[start:], states[start + 1 :], strict=False):
        pair = audiences(
            "message.received", was, state(now["status"], now["assignee"], now["team"])
        )
        match change_for(*pair, tags):
            case Change.ENTER:
                assert not has
                has = True
            case Change.LEAVE:
                assert has
                has = False
            case Change.UPDATE:
                assert has
            case None:
                assert not has
    assert has == entitled(states[-1])


def entry(seq: int) -> Entry:
    return Entry(seq, "e", frozenset(), frozenset(), b"")


@given(
    st.lists(st.sets(st.sampled_from(["a", "b", "c"]), min_size=1), max_size=30),
    st.integers(1, 5),
)
def test_pages_with_the_cut_give_every_entry_once_and_in_order(
    targets: list[set[str]], limit: int
) -> None:
    rings = {name: [entry(n) for n, to in enumerate(targets, 1) if name in to] for name in "abc"}
    got: list[int] = []
    place, more = 0, True
    while more:
        streams = tuple(
            tuple([e for e in ring if e.seq > place][:limit]) for ring in rings.values()
        )
        page = Page(Position("e", len(targets)), 0, streams, limit)
        entries, place, more = merge(page)
        got += [e.seq for e in entries]
    assert got == list(range(1, len(targets) + 1))
    assert place == len(targets)


@given(st.integers(0, 2**53), st.sets(st.text(min_size=1, max_size=8)))
def test_a_cursor_survives_its_text(seq: int, tags: set[str]) -> None:
    cursor = Cursor("0123456789abcdef", min(seq, 10**16 - 1), hash_tags(frozenset(tags)))
    assert read_cursor(write_cursor(cursor)) == cursor


@given(st.one_of(st.none(), st.text(), st.text("0123456789abcdef.", max_size=60)))
def test_any_text_as_cursor_is_a_cursor_or_none(text: str | None) -> None:
    found = read_cursor(text)
    assert found is None or write_cursor(found) == text or found.seq == int(str(text).split(".")[1])


@pytest.mark.parametrize(
    ("cursor", "resumes"),
    [
        pytest.param(Cursor("e", 10, "h"), True, id="inside"),
        pytest.param(Cursor("e", 5, "h"), True, id="at-the-floor"),
        pytest.param(Cursor("e", 20, "h"), True, id="at-the-end"),
        pytest.param(Cursor("e", 4, "h"), False, id="trimmed"),
        pytest.param(Cursor("e", 21, "h"), False, id="future"),
        pytest.param(Cursor("f", 10, "h"), False, id="other-epoch"),
        pytest.param(Cursor("e", 10, "i"), False, id="other-tags"),
    ],
)
def test_can_resume(cursor: Cursor, resumes: bool) -> None:
    page = Page(Position("e", 20), 5, ((),), 10)
    assert can_resume(cursor, page, "h") is resumes


@pytest.mark.parametrize(
    ("role", "asked", "given_", "refused"),
    [
        pytest.param(Role.AGENT, None, Scope.MINE, False, id="agent-default"),
        pytest.param(Role.AGENT, "mine", Scope.MINE, False, id="agent-mine"),
        pytest.param(Role.AGENT, "all", Scope.MINE, True, id="agent-all"),
        pytest.param(Role.SUPERVISOR, None, Scope.ALL, False, id="supervisor-default"),
        pytest.param(Role.ADMIN, "mine", Scope.MINE, False, id="admin-mine"),
    ],
)
def test_choose_scope(role: Role, asked: str | None, given_: Scope, refused: bool) -> None:
    assert choose_scope(asked, agent(role=role)) == (given_, refused)


def test_a_scope_of_all_reads_one_ring() -> None:
    assert streams_to_read(tags_of(agent("sol", Role.ADMIN), Scope.ALL)) == ("all",)
    assert streams_to_read(tags_of(agent(teams=("t1",)), Scope.MINE)) == (
        "agent:ana",
        "everybody",
        "queue:none",
        "queue:t1",
    )


CLAIMS = Claims("t", "ana", issued_at=100, expires_at=200, token_id="j", ticket=False)


@pytest.mark.parametrize(
    ("person", "active", "now", "verdict"),
    [
        pytest.param(agent(), True, 150, None, id="fine"),
        pytest.param(agent(), True, 200, CloseCode.BAD_TOKEN, id="expired"),
        pytest.param(None, True, 150, CloseCode.BAD_TOKEN, id="gone"),
        pytest.param(agent(), False, 150, CloseCode.BAD_TOKEN, id="suspended"),
        pytest.param(
            Agent("t", "ana", "Ana", Role.AGENT, (), 100.5), True, 150, CloseCode.BAD_TOKEN,
            id="revoked",
        ),
    ],
)  # fmt: skip
def test_may_stream(
    person: Agent | None, active: bool, now: float, verdict: CloseCode | None
) -> None:
    assert may_stream(CLAIMS, person, tenant_active=active, now=now) is verdict


def test_a_supervisors_view_is_told_to_all_only() -> None:
    chat = frozenset(("all", "agent:ana"))
    assert heard_by(agent("sol", Role.SUPERVISOR), chat) == {"all"}
    assert heard_by(agent("ana"), chat) == chat
    assert heard_by(agent("luis"), chat) == frozenset()


def test_origins() -> None:
    assert origin_allowed(None, [])
    assert origin_allowed("http://a.test/", ["http://a.test"])
    assert not origin_allowed("http://a.test", [])


def test_every_close_code_is_of_the_contract() -> None:
    assert {why.code for why in CloseCode} == {4400, 4401, 4403, 4408, 4413, 4429, 1012}
