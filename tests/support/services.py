"""All services as processes on the tests' servers, apart from everything else that runs there."""

import asyncio
import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pymongo
from aiokafka.admin import AIOKafkaAdminClient

from deploy.local import services
from deploy.local.errors import LocalStackError
from deploy.local.home import ROOT, Home
from deploy.local.ports import Ports
from deploy.local.processes import free_port, log_tail
from deploy.local.stack import Stack, shut_down, start_all
from tests.support.scans import none_scanned
from tests.support.stack import Addresses

NAMES: Final = ("graph", "ingest", "inbox", "routing", "notifier", "delivery")
_KEPT: Final = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "ATRIO_CACHE", "XDG_CACHE_HOME")


@dataclass(frozen=True, slots=True)
class Deployment:
    """A whole system: own ports, topics, databases and keys."""

    home: Home
    ports: Ports
    environment: Mapping[str, str]

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def run(self, module: str, *arguments: str, seconds: float = 60) -> str:
        """What `python -m <module>` prints with this system's environment; it must succeed."""
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env=dict(self.environment),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        if done.returncode:
            said = f"{done.stdout}\n{done.stderr}\n{self.logs()}"
            raise LocalStackError(f"{module} {arguments}: exit status {done.returncode}\n{said}")
        return done.stdout

    def logs(self) -> str:
        """The last lines of every service's log."""
        return "\n".join(f"{name}:\n{log_tail(self.home.log(name))}" for name in NAMES)


@contextlib.contextmanager
def deployed(servers: Addresses, folder: Path) -> Iterator[Deployment]:
    """Topics, then every service, ready; stopped and its databases dropped at the end.

    Nothing of the caller's own `ATRIO_*` settings counts.
    """
    mark = f"e2e{uuid.uuid4().hex[:10]}"
    home = Home(folder)
    home.create()
    ports = Ports({name: free_port() for name in (*NAMES, "console")})
    own = {
        "ATRIO_KAFKA_SERVERS": servers.kafka_servers,
        "ATRIO_MONGO_URL": servers.mongo_url,
        "ATRIO_REDIS_URL": servers.redis_url,
        "ATRIO_TOPIC_PREFIX": f"{mark}.",
        # Enough to have several; the broker is shared by every test.
        "ATRIO_KAFKA_PARTITIONS": "3",
        "ATRIO_INBOX_DB": f"{mark}_inbox",
        "ATRIO_DELIVERY_DB": f"{mark}_delivery",
        "ATRIO_REDIS_PREFIX": f"{mark}:",
        **{name: os.environ[name] for name in _KEPT if name in os.environ},
    }
    stack = Stack(home, ports)
    deployment = Deployment(home, ports, services.environment(stack, own))
    try:
        deployment.run(services.TOPICS_MODULE)
        launches = [services.launch(name, stack, deployment.environment) for name in NAMES]
        with none_scanned(servers.mongo_url, [f"{mark}_inbox", f"{mark}_delivery"]):
            start_all(launches, home, lambda _line: None)
            yield deployment
    finally:
        shut_down(home, NAMES)
        with ThreadPoolExecutor(1) as aside:  # the tests' own event loop stays as it is
            aside.submit(asyncio.run, _delete_topics(servers, f"{mark}.")).result()
        with pymongo.MongoClient[dict[str, object]](servers.mongo_url) as client:
            for name in ("inbox", "delivery"):
                client.drop_database(f"{mark}_{name}")


async def _delete_topics(servers: Addresses, prefix: str) -> None:
    """A broker with the topics of a hundred runs takes half a minute to start."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers.kafka_servers)
    await admin.start()
    try:
        await admin.delete_topics([n for n in await admin.list_topics() if n.startswith(prefix)])
    finally:
        await admin.close()
