"""Where the crowd lives: a stack whose data stay, an inbox process, and how it is filled.

Filling takes minutes, so it is done once; `--afresh` does it again.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
import psutil
import pymongo
import pymongo.errors
from bson import json_util
from pydantic import SecretStr

from deploy.local.home import ROOT, Home
from deploy.local.ports import INFRASTRUCTURE
from deploy.local.processes import free_port, running_pid
from deploy.local.stack import shut_down
from services.inbox.settings import InboxSettings
from services.inbox.storage.contacts import CONTACTS
from services.inbox.storage.conversations import SEARCH, WORDS
from services.inbox.storage.entries import CONVERSATIONS
from shared.kafka.topics import ensure_topics
from tests.bench.crowd import BATCH, Batch, Crowd, Tenant
from tests.support.stack import Addresses, local

HOME: Final = Path(tempfile.gettempdir()) / "atrio-bench-lists"
CACHE_GB: Final = 6
AGENTS: Final = 20
READY_SECONDS: Final = 1800
"""The first start after filling builds the indexes."""
PASSWORD: Final = "bench"
WRITERS: Final = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    conversations: int
    messages: int


@contextlib.contextmanager
def stack(*, afresh: bool, keep: bool) -> Iterator[Addresses]:
    """Servers of their own; the data stay when they end. `keep`: they do not, and stay warm."""
    if afresh:
        shutil.rmtree(HOME, ignore_errors=True)
    with local(HOME, keep=True) as addresses:
        try:
            with pymongo.MongoClient[dict[str, Any]](addresses.mongo_url) as client:
                cache = f"cache_size={CACHE_GB}G"
                client.admin.command("setParameter", 1, wiredTigerEngineRuntimeConfig=cache)
            yield addresses
        finally:
            if not keep:
                shut_down(Home(HOME), INFRASTRUCTURE)


def servers() -> list[psutil.Process]:
    """The stack's processes."""
    pids = (running_pid(Home(HOME).pid_file(name)) for name in INFRASTRUCTURE)
    return [psutil.Process(pid) for pid in pids if pid]


def warm(settings: InboxSettings) -> None:
    """Reads all once: a running tenant's conversations and indexes are in MongoDB's memory."""
    with pymongo.MongoClient[dict[str, Any]](settings.mongo_url) as client:
        database = client[settings.inbox_db]
        for name in (CONVERSATIONS, CONTACTS, SEARCH):
            for index in database[name].index_information():
                if index == WORDS:  # of many entries a document, each remembered while it counts
                    continue
                with contextlib.suppress(pymongo.errors.OperationFailure):  # a partial one
                    database[name].count_documents({"tenant": {"$gt": ""}}, hint=index)


def settings_for(addresses: Addresses) -> InboxSettings:
    return InboxSettings(
        kafka_servers=addresses.kafka_servers,
        mongo_url=addresses.mongo_url,
        topic_prefix="lists.",
        inbox_db="lists",
        key_secret=SecretStr("key-secret"),
        master_key=SecretStr(base64.b64encode(bytes(32)).decode()),
        platform_token=SecretStr("platform-token"),
    )


async def tenant_of(settings: InboxSettings, size: Size, home: Path) -> tuple[Tenant, float]:
    """The filled tenant, and the seconds that filling took; `home` remembers both."""
    file = home / f"crowd-{size.conversations}-{size.messages}.json"
    if file.exists():
        kept = json_util.loads(file.read_text(), json_options=json_util.JSONOptions(tz_aware=True))
        return Tenant(**kept["tenant"]), kept["seconds"]
    await ensure_topics(settings, partitions=1)
    async with inbox(settings, home) as url:
        tenant = await _set_up(url, settings.platform_token.get_secret_value())
    print("filling ...", flush=True)
    crowd = Crowd(tenant, size.conversations, size.messages)
    seconds = await asyncio.to_thread(_fill, settings, crowd)
    kept = {"tenant": dataclasses.asdict(tenant), "seconds": seconds}
    file.write_text(json_util.dumps(kept))
    return tenant, seconds


def _fill(settings: InboxSettings, crowd: Crowd) -> float:
    """Writes the documents without indexes: the next start of inbox builds them."""
    began = time.monotonic()
    with (
        pymongo.MongoClient[dict[str, Any]](settings.mongo_url, w=1) as client,
        ThreadPoolExecutor(WRITERS) as writers,
    ):
        database = client[settings.inbox_db]
        for name in Batch().documents:
            database[name].drop_indexes()
        waiting: deque[Future[Any]] = deque()
        done = 0
        for batch in crowd.batches():
            waiting.extend(
                writers.submit(database[name].insert_many, documents, ordered=False)
                for name, documents in batch.documents.items()
                if documents
            )
            while len(waiting) > 4 * WRITERS:
                waiting.popleft().result()
            done += batch.chats
            if done % (BATCH * 50) == 0:
                spent = time.monotonic() - began
                print(f"  {done:,} of {crowd.conversations:,} in {spent:.0f} s", flush=True)
        for each in waiting:
            each.result()
    return time.monotonic() - began


# --- the inbox -----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def inbox(settings: InboxSettings, home: Path) -> AsyncIterator[str]:
    """The service as a process; its address."""
    port = free_port()
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "ATRIO_KAFKA_SERVERS": settings.kafka_servers,
        "ATRIO_MONGO_URL": settings.mongo_url,
        "ATRIO_TOPIC_PREFIX": settings.topic_prefix,
        "ATRIO_INBOX_DB": settings.inbox_db,
        "ATRIO_INBOX_PORT": str(port),
        "ATRIO_HOME": str(home),
        "ATRIO_KEY_SECRET": settings.key_secret.get_secret_value(),
        "ATRIO_MASTER_KEY": settings.master_key.get_secret_value(),
        "ATRIO_PLATFORM_TOKEN": settings.platform_token.get_secret_value(),
    }
    url = f"http://127.0.0.1:{port}"
    log = home / "inbox.log"
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
            await asyncio.sleep(0.2)


async def _made(
    session: aiohttp.ClientSession, url: str, token: str, body: dict[str, Any]
) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with session.post(url, json=body, headers=headers) as answer:
        if answer.status >= 300:
            raise RuntimeError(f"{url}: {answer.status} {await answer.text()}")
        found: dict[str, Any] = await answer.json()
        return found


async def token_of(session: aiohttp.ClientSession, url: str, email: str) -> str:
    body = {"email": email, "password": PASSWORD}
    return str((await _made(session, f"{url}/v1/auth/token", "", body))["access_token"])


async def _set_up(url: str, platform_token: str) -> Tenant:
    """A tenant with teams, labels, numbers and agents, over the API."""
    mark = uuid.uuid4().hex[:8]
    async with aiohttp.ClientSession() as session:
        boss = f"boss-{mark}@bench.test"
        admin = {"email": boss, "name": "Boss", "password": PASSWORD}
        tenant = await _made(
            session, f"{url}/v1/platform/tenants", platform_token, {"name": mark, "admin": admin}
        )
        token = await token_of(session, url, boss)

        async def many(kind: str, bodies: Iterable[dict[str, Any]]) -> tuple[str, ...]:
            path = f"{url}/v1/admin/{kind}"
            made = [await _made(session, path, token, body) for body in bodies]
            return tuple(each["id"] for each in made)

        teams = await many("teams", ({"name": name} for name in ("sales", "support", "new")))
        labels = await many("labels", ({"name": name} for name in ("vip", "rare")))
        numbers = await many(
            "numbers",
            (
                {
                    "phone_number_id": str(uuid.uuid4().int)[:30],
                    "display_phone_number": f"+52 1 55 0000 000{place}",
                    "waba_id": "1",
                    "access_token": "token",
                    "app": None,
                    "team_id": None,
                    "bot": None,
                }
                for place in range(3)
            ),
        )
        emails = [f"agent{place}-{mark}@bench.test" for place in range(AGENTS)]
        agents = await many(
            "agents",
            (
                {
                    "email": email,
                    "name": f"Agent {place}",
                    "password": PASSWORD,
                    "role": "agent",
                    "team_ids": [teams[0]],
                }
                for place, email in enumerate(emails)
            ),
        )
    return Tenant(
        id=tenant["id"],
        filled_at=datetime.now(UTC).replace(microsecond=0),
        agent=emails[0],
        boss=boss,
        newcomer=emails[-1],
        numbers=numbers,
        teams=teams,
        labels=labels,
        agents=agents,
    )
