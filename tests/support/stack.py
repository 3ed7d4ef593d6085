"""The real servers behind the tests: a stack of their own by `deploy.local`, or containers.

One stack serves all workers of a pytest-xdist run, and all runs of a checkout: the last user stops
it. `TEST_STACK_KEEP=1` leaves it running for the next run, `TEST_STACK=containers` uses Docker.
"""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.local import kafka, mongod, redis
from deploy.local.home import ROOT, Home
from deploy.local.ports import INFRASTRUCTURE, Ports
from deploy.local.processes import (
    forget,
    free_port,
    is_listening,
    record,
    recorded_ports,
    running_pid,
)
from deploy.local.stack import ensure, shut_down

TEST_HOME: Final = ROOT / ".atrio" / "tests"
CONTAINER_START_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Addresses:
    """What a test needs to connect with bare clients."""

    kafka_servers: str
    mongo_url: str
    redis_url: str


def addresses() -> contextlib.AbstractContextManager[Addresses]:
    """The stack that `TEST_STACK` asks for, running while the context is open."""
    if os.environ.get("TEST_STACK") == "containers":
        return containers()
    return local(TEST_HOME, keep=os.environ.get("TEST_STACK_KEEP") == "1")


@contextlib.contextmanager
def local(folder: Path, *, keep: bool) -> Iterator[Addresses]:
    """A stack by `deploy.local` on ports of its own, shared with whoever else uses the folder."""
    home = Home(folder)
    with home.locked():
        stack = ensure(folder, remembered_ports(home), tell=lambda _line: None)
        mine = _users(home) / f"{os.getpid()}.pid"
        record(mine, os.getpid())
    try:
        yield Addresses(stack.kafka_servers, stack.mongo_url, stack.redis_url)
    finally:
        with home.locked():
            forget(mine)
            if not keep and not any(map(running_pid, _users(home).glob("*.pid"))):
                shut_down(home, INFRASTRUCTURE)
                # Each test leaves topics behind: thousands of them make Kafka slow.
                for name in INFRASTRUCTURE:
                    shutil.rmtree(home.data(name), ignore_errors=True)


def _users(home: Home) -> Path:
    """One pid file for each process that uses the stack; dead ones do not count."""
    folder = home.path / "run" / "users"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def remembered_ports(home: Home) -> Ports:
    """The ports of what runs, else the last ones, else free ones."""
    file = home.data("ports.json")
    last: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
    ports = {}
    for name in INFRASTRUCTURE:
        pid_file = home.pid_file(name)
        if running_pid(pid_file):
            ports[name] = recorded_ports(pid_file)[0]
        elif name in last and not is_listening(last[name]):
            ports[name] = last[name]
        else:
            ports[name] = free_port()
    file.write_text(json.dumps(ports))
    return Ports(ports)


@contextlib.contextmanager
def containers() -> Iterator[Addresses]:
    """The same servers in Docker. Ports are equal inside and outside: servers name themselves."""
    from testcontainers.core.container import DockerContainer

    ports = {name: free_port() for name in INFRASTRUCTURE}
    kafka_port, mongo_port, redis_port = (ports[name] for name in INFRASTRUCTURE)
    settings = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@127.0.0.1:19093",
        "KAFKA_LISTENERS": f"BROKER://0.0.0.0:{kafka_port},CONTROLLER://127.0.0.1:19093",
        "KAFKA_ADVERTISED_LISTENERS": f"BROKER://127.0.0.1:{kafka_port}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "BROKER",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "12",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_MESSAGE_MAX_BYTES": str(kafka.MESSAGE_BYTES),
    }
    broker = DockerContainer("apache/kafka:4.2.0").with_bind_ports(kafka_port, kafka_port)
    for name, value in settings.items():
        broker = broker.with_env(name, value)
    database = (
        DockerContainer("mongo:6.0.5")
        .with_bind_ports(mongo_port, mongo_port)
        .with_command(f"mongod --port {mongo_port} --bind_ip_all --replSet {mongod.REPLICA_SET}")
    )
    cache = (
        DockerContainer("redis:7-alpine")
        .with_bind_ports(redis_port, redis_port)
        .with_command(f"redis-server --port {redis_port} --appendonly yes")
    )
    with broker, database, cache:
        _await("Kafka", lambda: kafka.is_ready(kafka_port))
        _await("MongoDB", lambda: mongod.is_ready(mongo_port))
        _await("Redis", lambda: redis.is_ready(redis_port))
        yield Addresses(
            f"127.0.0.1:{kafka_port}",
            f"mongodb://127.0.0.1:{mongo_port}/?replicaSet={mongod.REPLICA_SET}",
            f"redis://127.0.0.1:{redis_port}/0",
        )


def _await(what: str, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + CONTAINER_START_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} is not ready after {CONTAINER_START_SECONDS:g} s")
        time.sleep(0.1)
