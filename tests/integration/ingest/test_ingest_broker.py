"""What ingest answers while its broker is away, on a Kafka that this module may kill."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.ports import Ports
from deploy.local.processes import free_port, running_pid
from deploy.local.stack import Stack, ensure, shut_down
from shared.contracts.records import OutRecord
from shared.contracts.topics import INBOUND
from shared.kafka.publisher import Publisher
from shared.kafka.settings import KafkaSettings
from shared.kafka.topics import ensure_topics
from tests.integration.ingest.conftest import TOPICS
from tests.integration.ingest.ingest_rig import Reader, running, until
from tests.integration.ingest.test_ingest_service import LATER, one, texts
from tests.unit.ingest.entries import number_out

pytestmark = [pytest.mark.integration, pytest.mark.fault, pytest.mark.timeout(150)]


def silent(_line: str) -> None:
    """The progress lines are for people."""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("ingest-kafka")
    started = ensure(folder, Ports({"kafka": free_port()}), ["kafka"], silent)
    yield started
    shut_down(started.home, ["kafka"])


@pytest.fixture
async def settings(own: Stack, topic_prefix: str) -> KafkaSettings:
    ensure(own.home.path, own.ports, ["kafka"], silent)
    made = KafkaSettings(kafka_servers=own.kafka_servers, topic_prefix=topic_prefix)
    await ensure_topics(made, partitions=3, topics=TOPICS)
    await add(made, number_out("n1", "200000000000001"))
    return made


async def add(settings: KafkaSettings, record: OutRecord) -> None:
    publisher = Publisher(settings, client_id="test")
    await publisher.start()
    await publisher.publish([record])
    await publisher.aclose()


def signalled(own: Stack, number: signal.Signals) -> None:
    pid = running_pid(own.home.pid_file("kafka"))
    assert pid is not None
    os.kill(pid, number)
    if number == signal.SIGKILL:
        deadline = time.monotonic() + 10
        while running_pid(own.home.pid_file("kafka")) is not None:
            assert time.monotonic() < deadline


async def test_a_killed_broker_means_503_within_five_seconds_then_it_goes_on(
    own: Stack, settings: KafkaSettings, tmp_path: Path
):
    answered: list[str] = []
    async with running(settings, tmp_path / "ingest.log") as ingest:

        async def post(text: str) -> tuple[int, float]:
            began = time.monotonic()
            status, code = await ingest.post(one(text))
            assert (status, code) in {(200, None), (503, "not_durable")}
            if status == 200:
                answered.append(text)
            return status, time.monotonic() - began

        assert (await post("before"))[0] == 200
        assert await ingest.post(one("unknown", LATER)) == (200, None)
        signalled(own, signal.SIGKILL)

        down = await asyncio.gather(*(post(f"down {n}") for n in range(50)))
        down.append(await post("still down"))

        assert {status for status, _ in down} == {503}
        assert max(seconds for _, seconds in down) < 5

        await asyncio.to_thread(ensure, own.home.path, own.ports, ["kafka"], silent)

        async def is_back() -> bool:
            return (await post("after"))[0] == 200

        await until(is_back, 30)
        assert await ingest.is_ready()
        async with Reader(settings, INBOUND) as inbound:
            assert set(answered) <= set(texts(await inbound.settled()))

            # The directory and the quarantine are followed again too.
            await add(settings, number_out("n9", "900"))

            async def is_driven() -> bool:
                return "unknown" in texts(await inbound.poll())

            await until(is_driven, 30)


async def test_a_frozen_broker_means_503_within_five_seconds_then_it_goes_on(
    own: Stack, settings: KafkaSettings, tmp_path: Path
):
    async with running(settings, tmp_path / "ingest.log") as ingest:
        assert (await ingest.post(one("before")))[0] == 200
        signalled(own, signal.SIGSTOP)
        try:
            began = time.monotonic()
            answers = await asyncio.gather(*(ingest.post(one(f"down {n}")) for n in range(20)))
            took = time.monotonic() - began
        finally:
            signalled(own, signal.SIGCONT)

        assert set(answers) == {(503, "not_durable")}
        assert took < 5

        async def is_back() -> bool:
            return (await ingest.post(one("after")))[0] == 200

        await until(is_back, 30)


async def test_it_starts_without_a_broker_and_is_ready_when_both_topics_are_read(
    own: Stack, settings: KafkaSettings, tmp_path: Path
):
    signalled(own, signal.SIGKILL)
    async with running(settings, tmp_path / "ingest.log", ready=False) as ingest:
        status, reasons = await ingest.get("/readyz")
        assert status == 503
        assert "directory_incomplete" in reasons
        assert "credentials_incomplete" in reasons
        assert await ingest.post(one("too early")) == (503, "not_ready")
        assert await ingest.post(b"{}", "wrong") == (503, "not_ready")

        await asyncio.to_thread(ensure, own.home.path, own.ports, ["kafka"], silent)

        await until(ingest.is_ready, 30)
        assert await ingest.post(one("in time")) == (200, None)
