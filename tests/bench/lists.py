"""`make bench-lists`: how long lists and search take in a tenant with very many chats.

The tenant is written straight into MongoDB, in the documents that inbox itself writes; the inbox is
a process of its own, asked over HTTP by one caller. What is written: docs/lists.md.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp
import pymongo
from pydantic import SecretStr

from deploy.local.home import ROOT
from deploy.local.processes import free_port
from services.inbox.settings import InboxSettings
from services.inbox.storage.conversations import SEARCH
from services.inbox.storage.entries import CONVERSATIONS, MESSAGES
from shared.kafka.topics import ensure_topics
from tests.bench.crowd import BATCH, COMMON, RARE, TWO, Crowd, Tenant
from tests.bench.report import DOCS, machine
from tests.support.stack import Addresses, local

HOME: Final = ROOT / ".atrio" / "bench-lists"
AGENTS: Final = 20
READY_SECONDS: Final = 60
PASSWORD: Final = "bench"


@dataclass(frozen=True, slots=True)
class Timing:
    """A call, in milliseconds; `rows` of its last answer."""

    name: str
    p50: float
    p95: float
    rows: int


def fill(stack: Addresses, settings: InboxSettings, crowd: Crowd) -> float:
    """Writes the tenant; the seconds that it took."""
    began = time.monotonic()
    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(stack.mongo_url, w=1)
    database = client[settings.inbox_db]
    done = 0
    for batch in crowd.batches():
        for name, documents in zip((CONVERSATIONS, MESSAGES, SEARCH), batch, strict=True):
            database[name].insert_many(documents, ordered=False)
        done += len(batch[0])
        if done % (BATCH * 50) == 0:
            print(f"  {done:,} of {crowd.conversations:,} conversations", flush=True)
    client.close()
    return time.monotonic() - began


# --- the inbox -----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def inbox(settings: InboxSettings, log: Path) -> AsyncIterator[str]:
    """The service as a process; its address."""
    port = free_port()
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "ATRIO_KAFKA_SERVERS": settings.kafka_servers,
        "ATRIO_MONGO_URL": settings.mongo_url,
        "ATRIO_TOPIC_PREFIX": settings.topic_prefix,
        "ATRIO_INBOX_DB": settings.inbox_db,
        "ATRIO_INBOX_PORT": str(port),
        "ATRIO_KEY_SECRET": settings.key_secret.get_secret_value(),
        "ATRIO_MASTER_KEY": settings.master_key.get_secret_value(),
        "ATRIO_PLATFORM_TOKEN": settings.platform_token.get_secret_value(),
    }
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: ASYNC220 - it is waited for below
            [sys.executable, "-m", "services.inbox"],
            cwd=ROOT,
            env=environment,
            stdout=out,
            stderr=out,
        )
    try:
        await _ready(url, process, log)
        yield url
    finally:
        process.terminate()
        process.wait(30)


async def _ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(READY_SECONDS):
        while True:
            if process.poll() is not None:
                raise RuntimeError(f"inbox ended: {log}")
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{url}/readyz") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.1)


async def _made(
    session: aiohttp.ClientSession, url: str, token: str, body: dict[str, Any]
) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with session.post(url, json=body, headers=headers) as answer:
        if answer.status >= 300:
            raise RuntimeError(f"{url}: {answer.status} {await answer.text()}")
        found: dict[str, Any] = await answer.json()
        return found


async def set_up(url: str, platform_token: str) -> Tenant:
    """A tenant with teams, labels, a number and agents, over the API."""
    mark = uuid.uuid4().hex[:8]
    async with aiohttp.ClientSession() as session:

        async def token(email: str) -> str:
            body = {"email": email, "password": PASSWORD}
            return str((await _made(session, f"{url}/v1/auth/token", "", body))["access_token"])

        boss = f"boss-{mark}@bench.test"
        admin = {"email": boss, "name": "Boss", "password": PASSWORD}
        tenant = await _made(
            session, f"{url}/v1/platform/tenants", platform_token, {"name": mark, "admin": admin}
        )
        boss_token = await token(boss)

        async def many(kind: str, bodies: Iterable[dict[str, Any]]) -> tuple[str, ...]:
            path = f"{url}/v1/admin/{kind}"
            made = [await _made(session, path, boss_token, body) for body in bodies]
            return tuple(each["id"] for each in made)

        teams = await many("teams", ({"name": name} for name in ("sales", "support")))
        labels = await many("labels", ({"name": name} for name in ("vip",)))
        number = {
            "phone_number_id": str(uuid.uuid4().int),
            "display_phone_number": "+52 1 55 0000 0000",
            "waba_id": "1",
            "access_token": "token",
            "app": None,
            "team_id": None,
            "bot": None,
        }
        [number_id] = await many("numbers", [number])
        agents = await many(
            "agents",
            (
                {
                    "email": f"agent{place}-{mark}@bench.test",
                    "name": f"Agent {place}",
                    "password": PASSWORD,
                    "role": "agent",
                    "team_ids": [teams[0]],
                }
                for place in range(AGENTS)
            ),
        )
        agent_token = await token(f"agent0-{mark}@bench.test")
    return Tenant(tenant["id"], number_id, teams, labels, agents, agent_token, boss_token)


# --- the calls -----------------------------------------------------------------------------------


def cases(tenant: Tenant) -> Iterator[tuple[str, str, str]]:
    """Name, token and path of each call."""
    agent, boss = tenant.agent_token, tenant.boss_token
    lists = "/v1/conversations"
    for view in ("open", "on_hold", "closed", "bot"):
        for sort in ("newest", "oldest", "waiting", "window"):
            query = f"view={view}&sort={sort}"
            if view != "bot":
                yield f"{view}, {sort}, agent", agent, f"{lists}?{query}"
            yield f"{view}, {sort}, all", boss, f"{lists}?{query}&scope=all"
    day = datetime.now(UTC) - timedelta(days=3)
    since, until = (
        (day + timedelta(days=days)).isoformat().replace("+00:00", "Z") for days in (0, 1)
    )
    for name, query in (
        ("one agent's", f"agent={tenant.agents[1]}"),
        ("a team's", f"team={tenant.teams[1]}"),
        ("a label", f"label={tenant.labels[0]}"),
        ("a number", f"number={tenant.number}"),
        ("one day", f"from={since}&to={until}"),
        ("a name (common)", "q=contacto"),
        ("a name (of one)", "q=contacto%2013579"),
    ):
        yield f"closed, newest, all, {name}", boss, f"{lists}?view=closed&scope=all&{query}"
    yield "open, all, unread", boss, f"{lists}?view=open&scope=all&unread=true"
    yield "open, all, snoozed", boss, f"{lists}?view=open&scope=all&snoozed=true"
    yield "counts, agent", agent, f"{lists}/counts"
    yield "counts, all", boss, f"{lists}/counts"
    search = "/v1/search/messages?q="
    for name, words in (("common word", COMMON), ("rare word", RARE), ("two words", TWO)):
        yield f"search, {name}, all", boss, f"{search}{words.replace(' ', '%20')}"
        yield f"search, {name}, agent", agent, f"{search}{words.replace(' ', '%20')}"


async def measure(url: str, tenant: Tenant, calls: int) -> list[Timing]:
    """Each call by itself, one after the other; the first ones do not count."""
    found = []
    async with aiohttp.ClientSession() as session:
        for name, token, path in cases(tenant):
            headers = {"authorization": f"Bearer {token}"}
            took: list[float] = []
            rows = 0
            for turn in range(calls + 2):
                began = time.perf_counter()
                async with session.get(f"{url}{path}", headers=headers) as answer:
                    body = await answer.json()
                    if answer.status != 200:
                        raise RuntimeError(f"{name}: {answer.status} {body}")
                if turn >= 2:
                    took.append((time.perf_counter() - began) * 1000)
                rows = len(body["items"]) if "items" in body else sum(body.values())
            p95 = statistics.quantiles(took, n=20, method="inclusive")[18]
            found.append(Timing(name, statistics.median(took), p95, rows))
            print(f"  {name:44} p50 {found[-1].p50:8.1f} ms  p95 {p95:8.1f} ms  {rows} rows")
    return found


def written(timings: Sequence[Timing], given: argparse.Namespace, seconds: float) -> str:
    """The page."""
    about = ", ".join(f"{name} {value}" for name, value in machine().items())
    page = f"""\
# Lists and search

`make bench-lists`: one tenant with {given.conversations:,} conversations and {given.messages:,}
messages, one inbox, one caller, {given.calls} calls each, pages of 50 rows (search: 20). MongoDB,
Kafka, the inbox and the caller share the machine: {about}.
Written in {seconds:,.0f} s. Of the conversations 1 % are On Hold, 2 % open, 0.5 % the bot's; the
common word is in most messages, the rare one in one of a thousand.

| call | p50 ms | p95 ms | rows |
| --- | ---: | ---: | ---: |
"""
    return page + "".join(
        f"| {each.name} | {each.p50:.1f} | {each.p95:.1f} | {each.rows:,} |\n" for each in timings
    )


async def run(stack: Addresses, folder: Path, given: argparse.Namespace) -> str:
    """Sets up, fills, measures; the page."""
    mark = f"lists{uuid.uuid4().hex[:8]}"
    settings = InboxSettings(
        kafka_servers=stack.kafka_servers,
        mongo_url=stack.mongo_url,
        topic_prefix=f"{mark}.",
        inbox_db=mark,
        key_secret=SecretStr("key-secret"),
        master_key=SecretStr(base64.b64encode(bytes(32)).decode()),
        platform_token=SecretStr("platform-token"),
    )
    await ensure_topics(settings, partitions=1)
    try:
        async with inbox(settings, folder / "inbox.log") as url:
            tenant = await set_up(url, "platform-token")
            print("filling ...", flush=True)
            crowd = Crowd(tenant, given.conversations, given.messages)
            seconds = await asyncio.to_thread(fill, stack, settings, crowd)
            print(f"filled in {seconds:.0f} s; measuring ...", flush=True)
            return written(await measure(url, tenant, given.calls), given, seconds)
    finally:
        with pymongo.MongoClient[dict[str, Any]](stack.mongo_url) as client:
            client.drop_database(mark)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-lists", description=__doc__)
    parser.add_argument("--conversations", type=int, default=1_000_000)
    parser.add_argument("--messages", type=int, default=5_000_000, help="of all of them")
    parser.add_argument("--calls", type=int, default=40, help="of each kind, measured")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of lists.md")
    parser.add_argument("--dry", action="store_true", help="only show, write no file")
    return parser.parse_args(given)


def main() -> None:
    """Run on a stack of its own."""
    given = arguments()
    shutil.rmtree(HOME, ignore_errors=True)
    with local(HOME, keep=False) as stack:
        page = asyncio.run(run(stack, HOME, given))
    if not given.dry:
        file = given.out / "lists.md"
        file.write_text(page)
        print(f"wrote {file}")


if __name__ == "__main__":
    main()
