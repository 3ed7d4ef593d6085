"""Up and down on a stack of their own: what runs stays, what was killed returns with its data."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pymongo
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.local import mongod
from deploy.local.errors import LocalStackError
from deploy.local.home import ROOT, Home
from deploy.local.ports import INFRASTRUCTURE, Ports
from deploy.local.processes import free_port, is_listening, running_pid
from deploy.local.stack import Stack, ensure, shut_down

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("local-stack")]


def silent(_line: str) -> None:
    """The progress lines are for people."""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    started = ensure(folder, Ports({name: free_port() for name in INFRASTRUCTURE}), tell=silent)
    yield started
    shut_down(started.home, INFRASTRUCTURE)


def up(own: Stack) -> Stack:
    return ensure(own.home.path, own.ports, tell=silent)


def kill(own: Stack, name: str) -> None:
    pid = running_pid(own.home.pid_file(name))
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while running_pid(own.home.pid_file(name)) is not None:
        assert time.monotonic() < deadline


def pids(own: Stack) -> dict[str, int | None]:
    return {name: running_pid(own.home.pid_file(name)) for name in INFRASTRUCTURE}


def say(port: int, *words: str) -> bytes:
    """One Redis command in its wire form, so that no client is needed."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        parts = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        connection.sendall(f"*{len(words)}\r\n{parts}".encode())
        return connection.recv(4096)


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.local", *arguments],
        env={**os.environ, **environ},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def environ(own: Stack) -> dict[str, str]:
    return {"ATRIO_HOME": str(own.home.path), **own.ports.environment()}


def test_up_again_starts_nothing(own: Stack):
    up(own)
    before = pids(own)
    assert up(own).started == ()
    assert pids(own) == before


def test_pid_files_hold_the_servers_own_pids(own: Stack):
    up(own)
    for name, pid in pids(own).items():
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        assert str(own.home.data(name)).encode() in command


def test_redis_comes_back_alone_with_its_data_after_a_kill(own: Stack):
    up(own)
    port, before = own.ports["redis"], pids(own)
    assert say(port, "SET", "kept", "yes") == b"+OK\r\n"
    kill(own, "redis")
    assert up(own).started == ("redis",)
    assert say(port, "GET", "kept") == b"$3\r\nyes\r\n"
    assert {**pids(own), "redis": None} == {**before, "redis": None}


def test_mongod_comes_back_alone_with_its_data_after_a_kill(own: Stack):
    up(own)
    before = pids(own)
    with pymongo.MongoClient(own.mongo_url) as client:
        client["kept"]["kept"].insert_one({"_id": "kept"})
    kill(own, "mongod")
    assert up(own).started == ("mongod",)
    with pymongo.MongoClient(own.mongo_url) as client:
        assert client["kept"]["kept"].find_one() == {"_id": "kept"}
    assert {**pids(own), "mongod": None} == {**before, "mongod": None}


async def test_kafka_comes_back_alone_with_its_data_after_a_kill(own: Stack, topic_prefix: str):
    up(own)
    before, topic = pids(own), f"{topic_prefix}kept"
    admin = AIOKafkaAdminClient(bootstrap_servers=own.kafka_servers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=own.kafka_servers, acks="all")
    await producer.start()
    await producer.send_and_wait(topic, b"kept")
    await producer.stop()
    kill(own, "kafka")
    assert up(own).started == ("kafka",)
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=own.kafka_servers, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        assert (await consumer.getone()).value == b"kept"
    finally:
        await consumer.stop()
    assert {**pids(own), "kafka": None} == {**before, "kafka": None}


def test_another_port_for_what_runs_is_an_error_that_says_so(own: Stack):
    up(own)
    moved = Ports({**own.ports.chosen, "redis": free_port()})
    with pytest.raises(LocalStackError, match="make down"):
        ensure(own.home.path, moved, tell=silent)


def test_mongod_on_another_port_keeps_its_replica_set_and_data(tmp_path: Path):
    first = ensure(tmp_path, Ports({"mongod": free_port()}), ["mongod"], silent)
    with pymongo.MongoClient(first.mongo_url) as client:
        client["kept"]["kept"].insert_one({"_id": "kept"})
    shut_down(first.home, ["mongod"])
    second = ensure(tmp_path, Ports({"mongod": free_port()}), ["mongod"], silent)
    try:
        with pymongo.MongoClient(second.mongo_url) as client:
            assert client["kept"]["kept"].find_one() == {"_id": "kept"}
        assert mongod.is_ready(second.ports["mongod"])
    finally:
        shut_down(second.home, ["mongod"])


def test_a_server_that_dies_at_once_ends_up_with_its_log_and_a_status(tmp_path: Path):
    home = Home(tmp_path)
    home.create()
    home.data("redis").mkdir()
    (home.data("redis") / "appendonly.aof").write_text("not an append-only file")
    done = run(
        "up", "--services", "redis", ATRIO_HOME=str(tmp_path), ATRIO_REDIS_PORT=str(free_port())
    )
    assert done.returncode == 1
    assert "redis ended before it was ready" in done.stderr
    assert str(home.log("redis")) in done.stderr


def test_a_taken_port_ends_up_with_a_message_and_a_status(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("up", "--services", "redis", ATRIO_HOME=str(tmp_path), ATRIO_REDIS_PORT=port)
    assert done.returncode == 1
    assert f"port {port} is taken" in done.stderr
    assert f"Logs: {tmp_path / 'logs'}\n" in done.stderr
    assert not Home(tmp_path).pid_file("redis").exists()


def test_down_passes_a_stale_pid_file_by_and_spares_the_process_it_names(tmp_path: Path):
    home = Home(tmp_path)
    port = free_port()
    ensure(tmp_path, Ports({"redis": port}), ["redis"], silent)
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as foreign:
        home.pid_file("kafka").write_text(f"{foreign.pid}\n")
        home.pid_file("mongod").write_text("99999999\n")
        done = run("down", ATRIO_HOME=str(tmp_path))
        assert done.returncode == 0, done.stderr
        assert done.stdout == "Stopped redis.\n"
        assert foreign.poll() is None
        foreign.kill()
    assert not is_listening(port)
    assert not list((tmp_path / "run").glob("*.pid"))


def test_the_command_prints_the_addresses(own: Stack):
    done = run("up", "--no-services", **environ(own))
    assert done.returncode == 0, done.stderr
    for name in INFRASTRUCTURE:
        assert f"127.0.0.1:{own.ports[name]}" in done.stdout
