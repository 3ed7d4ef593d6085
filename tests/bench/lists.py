"""`make bench-lists`: how long lists and search take in a tenant with very many chats.

The tenant is written straight into MongoDB, in the documents that inbox itself writes, and kept for
the next run; the inbox is a process of its own, asked over HTTP by one caller. What is written:
docs/lists.md and docs/lists.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import aiohttp
import psutil

from services.inbox.settings import InboxSettings
from tests.bench.crowd import COMMON, RARE, TWO, Tenant, phone_of
from tests.bench.crowd_home import (
    CACHE_GB,
    HOME,
    Size,
    inbox,
    servers,
    settings_for,
    stack,
    tenant_of,
    token_of,
    warm,
)
from tests.bench.report import DOCS, machine

HOLD_MS: Final = 50.0
QUIET: Final = 0.25
"""What others may take of the processors before calls are measured again."""
WARM: Final = 2
LISTS: Final = "/v1/conversations"


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    caller: str
    path: str


@dataclass(frozen=True, slots=True)
class Timing:
    """A call, in milliseconds; `rows` of its last answer, `more` where a cursor follows.

    `others`: the share of the processors that was not this run's.
    """

    name: str
    p50: float
    p95: float
    p99: float
    rows: int
    more: bool
    others: float

    @property
    def line(self) -> str:
        rows = f"{self.rows:,}{'+' if self.more else ''}"
        times = " | ".join(f"{each:.1f}" for each in (self.p50, self.p95, self.p99))
        return f"| {self.name} | {times} | {rows} |"


# --- the calls -----------------------------------------------------------------------------------


def cases(tenant: Tenant) -> Iterator[Case]:
    """What an agent, a supervisor and an agent with few chats ask for."""
    yield from _orders(tenant)
    yield from _filters(tenant)
    yield from _names(tenant)
    for name, caller in (("agent", tenant.agent), ("all", tenant.boss)):
        yield Case(f"counts, {name}", caller, f"{LISTS}/counts")
        yield Case(f"mentions, {name}", caller, "/v1/me/mentions?limit=20")
    callers = (("all", tenant.boss), ("agent", tenant.agent), ("newcomer", tenant.newcomer))
    for name, words in (("common", COMMON), ("rare", RARE), ("two", TWO), ("no", "xyz")):
        for who, caller in callers:
            path = f"/v1/search/messages?q={words.replace(' ', '%20')}"
            yield Case(f"search, {name} word{'s' * (name == 'two')}, {who}", caller, path)


def _orders(tenant: Tenant) -> Iterator[Case]:
    for view in ("open", "on_hold", "closed", "bot"):
        for sort in ("newest", "oldest", "waiting", "window"):
            query = f"{LISTS}?view={view}&sort={sort}"
            if view != "bot":
                yield Case(f"{view}, {sort}, agent", tenant.agent, query)
            yield Case(f"{view}, {sort}, all", tenant.boss, f"{query}&scope=all")


def _filters(tenant: Tenant) -> Iterator[Case]:
    since, until = (
        (tenant.filled_at - timedelta(days=days)).isoformat().replace("+00:00", "Z")
        for days in (3, 2)
    )
    filters = {
        "one agent's": f"agent={tenant.agents[1]}",
        "a team's": f"team={tenant.teams[1]}",
        "a new team's": f"team={tenant.teams[-1]}",
        "a label": f"label={tenant.labels[0]}",
        "a rare label": f"label={tenant.labels[-1]}",
        "a number": f"number={tenant.numbers[0]}",
        "a new number": f"number={tenant.numbers[-1]}",
        "unread": "unread=true",
        "one day": f"from={since}&to={until}",
        "a label of a team": f"label={tenant.labels[0]}&team={tenant.teams[1]}",
    }
    for view in ("open", "on_hold", "closed"):
        for sort in ("newest", "window"):
            for name, query in filters.items():
                path = f"{LISTS}?view={view}&scope=all&sort={sort}&{query}"
                yield Case(f"{view}, {sort}, all, {name}", tenant.boss, path)
        for name in ("a label", "a rare label", "unread"):
            path = f"{LISTS}?view={view}&{filters[name]}"
            yield Case(f"{view}, agent, {name}", tenant.agent, path)
    yield Case("open, all, snoozed", tenant.boss, f"{LISTS}?view=open&scope=all&snoozed=true")


def _names(tenant: Tenant) -> Iterator[Case]:
    phone = phone_of(12_345)
    for name, q in (
        ("a name (common)", "maria"),
        ("a name (two words)", "jos%C3%A9%20hern"),
        ("a name (three words)", "zoe zarate cafelo".replace(" ", "%20")),
        ("a letter", "m"),
        ("a name of nobody", "xyz"),
        ("a phone", phone),
        ("a phone's end", phone[-7:]),
        ("a phone's beginning", phone[:6]),
        ("a word said last", RARE),
    ):
        for view in ("closed", "open"):
            path = f"{LISTS}?view={view}&q={q}"
            yield Case(f"{view}, all, {name}", tenant.boss, f"{path}&scope=all")
            yield Case(f"{view}, agent, {name}", tenant.agent, path)


async def measure(url: str, tenant: Tenant, given: argparse.Namespace) -> list[Timing]:
    """Each call by itself, one after the other; the first ones do not count.

    Then again those that others disturbed most, while there is time; the calmest counts.
    """
    found: dict[str, Timing] = {}
    ends = time.monotonic() + given.seconds
    async with aiohttp.ClientSession() as session:
        callers = (tenant.agent, tenant.boss, tenant.newcomer)
        tokens = {each: await token_of(session, url, each) for each in callers}
        wanted = {each.name: each for each in cases(tenant) if given.only in each.name}

        async def again(case: Case) -> None:
            headers = {"authorization": f"Bearer {tokens[case.caller]}"}
            timing = await _timed(session, url, case, headers, given.calls)
            found[case.name] = min(found.get(case.name, timing), timing, key=_others)
            print(f"  {timing.line} others {timing.others:.0%}", flush=True)

        for case in wanted.values():
            await again(case)
        tries = dict.fromkeys(found, 1)
        while time.monotonic() < ends:
            noisy = [name for name, each in found.items() if each.others > QUIET]
            if not noisy:
                break
            name = min(noisy, key=lambda each: (tries[each], -found[each].others))
            tries[name] += 1
            await again(wanted[name])
    return list(found.values())


def _others(timing: Timing) -> float:
    return timing.others


async def _timed(
    session: aiohttp.ClientSession, url: str, case: Case, headers: dict[str, str], calls: int
) -> Timing:
    took: list[float] = []
    rows, more = 0, False
    before = Usage.now()
    for turn in range(calls + WARM):
        began = time.perf_counter()
        async with session.get(f"{url}{case.path}", headers=headers) as answer:
            body = await answer.json()
            if answer.status != 200:
                raise RuntimeError(f"{case.name}: {answer.status} {body}")
        if turn >= WARM:
            took.append((time.perf_counter() - began) * 1000)
        rows = len(body["items"]) if "items" in body else sum(body.values())
        more = bool(body.get("next_cursor"))
    parts = statistics.quantiles(took, n=100, method="inclusive")
    return Timing(
        case.name, statistics.median(took), parts[94], parts[98], rows, more, before.others()
    )


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds of the processors, until now: that there were, that were idle, that were ours."""

    all: float
    idle: float
    own: float

    @classmethod
    def now(cls) -> Usage:
        times = psutil.cpu_times()
        own = [psutil.Process(), *psutil.Process().children(recursive=True), *servers()]
        used = (each.cpu_times() for each in own)
        return cls(sum(times), times.idle + times.iowait, sum(u.user + u.system for u in used))

    def others(self) -> float:
        """The share of others since then."""
        after = Usage.now()
        whole = after.all - self.all
        busy = whole - (after.idle - self.idle) - (after.own - self.own)
        return max(0.0, busy / whole) if whole else 0.0


# --- the page ------------------------------------------------------------------------------------


def written(timings: Sequence[Timing], given: argparse.Namespace, seconds: float) -> str:
    """The page."""
    about = ", ".join(f"{name} {value}" for name, value in machine().items())
    over = [each.name for each in timings if each.p95 >= HOLD_MS]
    noisy = [each for each in timings if each.others > QUIET]
    held = "All hold." if not over else f"Over it: {'; '.join(over)}."
    page = f"""\
# Lists and search

`make bench-lists`: one tenant with {given.conversations:,} conversations and {given.messages:,}
messages, one inbox, one caller, {given.calls} calls each, pages of 50 rows (search: 20). MongoDB
(a cache of {CACHE_GB} GB), Kafka, the inbox and the caller share the machine: {about}.
Written in {seconds:,.0f} s, kept for the next run. Of the conversations 1 % are On Hold, 2 % open,
0.5 % the bot's; the common word is in most messages, the rare one in one of a thousand; of twenty
agents the newcomer has a hundred chats; the rare label, the new team and the new number have fifty
to two hundred. `+`: a cursor follows, also where a page is short because what was sought is rare
among what was looked at. A kind during which others took more than {QUIET:.0%} of the processors is
measured again while there is time, and the calmest counts; {len(noisy)} of {len(timings)} were
not alone even so.

To hold: p95 under {HOLD_MS:.0f} ms. {held}

| call | p50 ms | p95 ms | p99 ms | rows |
| --- | ---: | ---: | ---: | ---: |
"""
    return page + "".join(f"{each.line}\n" for each in timings)


async def run(
    settings: InboxSettings, given: argparse.Namespace, home: Path
) -> tuple[list[Timing], float]:
    """Fills where nothing is, measures."""
    tenant, seconds = await tenant_of(settings, Size(given.conversations, given.messages), home)
    async with inbox(settings, home) as url:
        if not given.hot:
            await asyncio.to_thread(warm, settings)
        return ([] if given.fill else await measure(url, tenant, given)), seconds


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-lists", description=__doc__)
    parser.add_argument("--conversations", type=int, default=1_000_000)
    parser.add_argument("--messages", type=int, default=5_000_000, help="of all of them")
    parser.add_argument("--calls", type=int, default=40, help="of each kind, measured")
    parser.add_argument("--seconds", type=int, default=300, help="to measure the disturbed again")
    parser.add_argument("--only", default="", help="calls whose name has this; writes no file")
    parser.add_argument("--fill", action="store_true", help="only write the tenant")
    parser.add_argument("--keep", action="store_true", help="leave the servers running")
    parser.add_argument("--hot", action="store_true", help="they run, and have read it all once")
    parser.add_argument("--afresh", action="store_true", help="forget the tenant of before")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of lists.md, lists.json")
    parser.add_argument("--dry", action="store_true", help="only show, write no file")
    return parser.parse_args(given)


def main() -> None:
    """Run on a stack of its own."""
    given = arguments()
    with stack(afresh=given.afresh, keep=given.keep) as addresses:
        timings, seconds = asyncio.run(run(settings_for(addresses), given, HOME))
    if given.dry or given.only or given.fill:
        return
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "lists.md").write_text(written(timings, given, seconds))
    about = {
        "machine": machine(),
        "conversations": given.conversations,
        "messages": given.messages,
        "calls": [asdict(each) for each in timings],
    }
    (given.out / "lists.json").write_text(json.dumps(about, indent=1) + "\n")
    print(f"wrote {given.out / 'lists.md'}")


if __name__ == "__main__":
    main()
