"""The whole system as processes on ports, topics and databases of its own, with one tenant."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from deploy.local.home import Home
from deploy.local.ports import SERVICES, Ports
from deploy.local.processes import free_port, running_pid
from deploy.local.services import environment, launch
from deploy.local.stack import Stack, shut_down, start_all
from shared.kafka.settings import KafkaSettings
from shared.kafka.topics import ensure_topics
from shared.testing.webhooks import Number
from tests.support.stack import Addresses

RUN = ("ingest", "inbox", "routing", "notifier", "delivery")
APP_SECRET = "app-secret"
PLATFORM_TOKEN = "platform-token"
PASSWORD = "bench"


@dataclass(frozen=True, slots=True)
class System:
    """Where it listens, and what the tenant's people open their streams with."""

    ports: Ports
    kafka: KafkaSettings
    supervisor: str
    agents: tuple[str, ...]
    watch: dict[str, int]

    @property
    def stream(self) -> str:
        return f"ws://127.0.0.1:{self.ports['notifier']}/v1/stream"


@contextmanager
def running(addresses: Addresses, folder: Path, *, agents: int) -> Iterator[System]:
    """Five services, ready, with a tenant, its number, a supervisor and agents."""
    kafka_port = int(addresses.kafka_servers.rpartition(":")[2])
    mongo_port = urlsplit(addresses.mongo_url).port or 27017
    redis_port = urlsplit(addresses.redis_url).port or 6379
    given = {"kafka": kafka_port, "mongod": mongo_port, "redis": redis_port}
    ports = Ports(given | {name: free_port() for name in SERVICES})
    stack = Stack(Home(folder), ports)
    stack.home.create()
    name = uuid.uuid4().hex[:8]
    # Settings of the clients may be tried out; addresses and names are the bench's own.
    clean = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("ATRIO_") or key.startswith("ATRIO_KAFKA_FETCH")
    }
    own = {
        "ATRIO_TOPIC_PREFIX": f"bench-{name}-",
        "ATRIO_INBOX_DB": f"bench_{name}_inbox",
        "ATRIO_DELIVERY_DB": f"bench_{name}_delivery",
        "ATRIO_REDIS_URL": addresses.redis_url,
        "ATRIO_MONGO_URL": addresses.mongo_url,
    }
    env = environment(stack, clean | own)
    settings = KafkaSettings(
        kafka_servers=addresses.kafka_servers, topic_prefix=own["ATRIO_TOPIC_PREFIX"]
    )
    asyncio.run(ensure_topics(settings))
    try:
        start_all([launch(one, stack, env) for one in RUN], stack.home, lambda _line: None)
        supervisor, people = _tenant(ports["inbox"], agents)
        yield System(ports, settings, supervisor, people, _pids(stack, given))
    finally:
        shut_down(stack.home, RUN)


def _pids(stack: Stack, servers: dict[str, int]) -> dict[str, int]:
    """The processes to be watched: the services, and whoever listens on the servers' ports."""
    found = {name: running_pid(stack.home.pid_file(name)) for name in RUN}
    return {name: pid for name, pid in found.items() if pid} | listeners(servers)


def listeners(servers: dict[str, int]) -> dict[str, int]:
    """Who listens on these ports, where the system tells."""
    names = {port: name for name, port in servers.items()}
    return {
        names[each.laddr.port]: each.pid
        for each in psutil.net_connections("tcp")
        if each.status == psutil.CONN_LISTEN
        and each.laddr
        and each.laddr.port in names
        and each.pid
    }


# --- the tenant ----------------------------------------------------------------------------------


def _tenant(port: int, agents: int) -> tuple[str, tuple[str, ...]]:
    mark = uuid.uuid4().hex[:8]

    def call(path: str, body: dict[str, Any], token: str | None = None) -> dict[str, Any]:
        return post(port, path, body, token)

    def sign_in(email: str) -> str:
        answer = call("/v1/auth/token", {"email": email, "password": PASSWORD})
        return str(answer["access_token"])

    def person(name: str, **members: Any) -> dict[str, Any]:
        return {"email": f"{name}-{mark}@bench.test", "name": name, "password": PASSWORD} | members

    admin = person("admin")
    call("/v1/platform/tenants", {"name": "Bench", "admin": admin}, PLATFORM_TOKEN)
    token = sign_in(admin["email"])
    number = Number()
    call(
        "/v1/admin/numbers",
        {
            "phone_number_id": number.phone_number_id,
            "display_phone_number": number.display_phone_number,
            "waba_id": number.waba_id,
            "access_token": "bench",
            "app": None,
            "team_id": None,
            "bot": None,
        },
        token,
    )
    people = [person("supervisor", role="supervisor")]
    people += [person(f"agent{place}", role="agent") for place in range(agents)]
    for one in people:
        call("/v1/admin/agents", one, token)
    supervisor, *others = [sign_in(one["email"]) for one in people]
    return supervisor, tuple(others)


def post(port: int, path: str, body: dict[str, Any], token: str | None) -> dict[str, Any]:
    """A call that must succeed; 503 is tried again for a while."""
    headers = {"content-type": "application/json"}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    deadline = time.monotonic() + 20
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            connection.request("POST", path, json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status < 300:
            found: dict[str, Any] = json.loads(text)
            return found
        if answer.status != 503 or time.monotonic() > deadline:
            raise RuntimeError(f"{path} answered {answer.status}: {text.decode()[:200]}")
        time.sleep(0.2)
