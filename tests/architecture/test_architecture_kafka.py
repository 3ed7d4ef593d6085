"""Every subscription goes through `shared.kafka`, in every service."""

import importlib
import importlib.util
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faststream import AckPolicy
from faststream.kafka.subscriber.usecase import BatchSubscriber

from deploy.local.home import ROOT, Home
from deploy.local.ports import Ports
from deploy.local.services import environment
from deploy.local.stack import Stack
from shared.contracts.topics import ALL
from shared.kafka.consumer import GuardedConsumer
from shared.kafka.subscription import Subscription

# What each service must subscribe to; tables of compacted topics are not subscriptions.
SUBSCRIBES = {
    "ingest": set[str](),
    "inbox": {
        "whatsapp.inbound.v1",
        "routing.decisions.v1",
        "delivery.events.v1",
        "agent.events.v1",
        "conversation.events.v1",
    },
    "routing": {"conversation.events.v1", "agent.events.v1"},
    "delivery": {"whatsapp.outbound.v1"},
    "notifier": {"conversation.events.v1", "contact.events.v1", "agent.events.v1"},
}


def finished(service: str) -> bool:
    try:
        return importlib.util.find_spec(f"services.{service}.app") is not None
    except ModuleNotFoundError:
        return False


async def built(service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The service's composition root with settings that connect to nothing."""
    if not finished(service):
        if os.environ.get("REQUIRE_REAL") == "1":
            pytest.fail(f"services.{service}.app is missing")
        pytest.skip(f"services.{service}.app is not there yet")
    home = Home(tmp_path)
    home.create()
    nowhere = {"ATRIO_KAFKA_SERVERS": "127.0.0.1:1", "ATRIO_TOPIC_PREFIX": "arch."}
    for name, value in environment(Stack(home, Ports()), os.environ | nowhere).items():
        monkeypatch.setenv(name, value)
    app = importlib.import_module(f"services.{service}.app")
    settings = importlib.import_module(f"services.{service}.settings")
    [kind] = [
        found
        for name, found in vars(settings).items()
        if name.lower() == f"{service}settings" and inspect.isclass(found)
    ]
    made = app.create_app(kind())
    return await made if inspect.isawaitable(made) else made


@pytest.mark.parametrize("service", sorted(SUBSCRIBES))
async def test_a_service_subscribes_only_through_the_wrapper(
    service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = await built(service, monkeypatch, tmp_path)
    broker = getattr(app, "broker", None)
    subscribers = list(broker.subscribers) if broker is not None else []
    declared = {topic.name("arch."): topic.base for topic in ALL}
    found = set()
    for subscriber in subscribers:
        assert isinstance(subscriber, BatchSubscriber)
        assert subscriber.ack_policy is AckPolicy.MANUAL
        assert subscriber.group_id, "no group: at most once"
        options = subscriber._connection_args
        assert options["auto_offset_reset"] == "earliest"
        assert options["enable_auto_commit"] is False
        assert len(subscriber.topics) == 1
        assert subscriber.pattern is None
        assert isinstance(subscriber._listener, Subscription)
        name = subscriber.topics[0].name
        assert name in declared, f"{name} is not in shared/contracts/topics.py"
        assert service in _readers(declared[name])
        found.add(declared[name])
    groups = [(each.group_id, each.topics[0].name) for each in subscribers]
    assert len(groups) == len(set(groups))
    assert found == SUBSCRIBES[service]
    if broker is not None:
        assert not broker.config.broker_config.allow_auto_create_topics
        await broker.connect()
        assert broker.config.broker_config.builder.func is GuardedConsumer


def _readers(base: str) -> set[str]:
    [topic] = [each for each in ALL if each.base == base]
    # A public topic may be read by anybody.
    anybody = set(SUBSCRIBES) if "anybody" in topic.readers else set()
    return set(topic.readers) | anybody


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from (ROOT / folder).rglob("*.py")


# Who may use a bare client, and why.
EXCEPTIONS = {
    "services/ingest/gateways.py": "the re-drive commits the oldest record that still waits",
}
BARE = re.compile(r"\b(AIOKafkaConsumer|AIOKafkaProducer)\b|\.subscriber\(")


def test_nobody_builds_kafka_clients_by_hand() -> None:
    wrapped = ROOT / "shared" / "kafka"
    offenders = [
        str(path.relative_to(ROOT))
        for path in sources("services", "shared")
        if wrapped not in path.parents
        and str(path.relative_to(ROOT)) not in EXCEPTIONS
        and BARE.search(path.read_text())
    ]
    assert offenders == []


def test_only_settings_read_the_environment() -> None:
    offenders = [
        str(path.relative_to(ROOT))
        for path in sources("services", "shared")
        if path.name != "settings.py"
        and "testing" not in path.parts
        and re.search(r"\bos\.(environ|getenv)\b", path.read_text())
    ]
    assert offenders == []


def test_imports_point_the_right_way() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
