"""A broker that is killed and comes back: everything recovers by itself."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import pytest

from deploy.local.errors import LocalStackError
from deploy.local.home import Home
from deploy.local.ports import Ports
from deploy.local.processes import free_port, running_pid
from deploy.local.stack import ensure, shut_down
from shared.contracts.records import OutRecord
from shared.contracts.topics import DIRECTORY, INBOUND
from shared.kafka.publisher import Publisher, PublishError
from shared.kafka.settings import KafkaSettings
from shared.kafka.table import CompactedTable
from shared.kafka.topics import ensure_topics
from tests.integration.kafka.kafka_rig import Seen, committed, consuming, record, until

pytestmark = [pytest.mark.integration, pytest.mark.fault, pytest.mark.timeout(180)]

RECOVERY_SECONDS = 30


class Broker:
    """A Kafka of one's own, to be killed."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder)
        self.ports = Ports({"kafka": free_port()})
        self.servers = f"127.0.0.1:{self.ports['kafka']}"

    def start(self) -> None:
        ensure(self.home.path, self.ports, ("kafka",), tell=lambda _: None)

    def kill(self) -> None:
        pid = running_pid(self.home.pid_file("kafka"))
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while running_pid(self.home.pid_file("kafka")) is not None:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def stop(self) -> None:
        shut_down(self.home, ("kafka",))


@pytest.fixture(scope="module")
def broker(
    tmp_path_factory: pytest.TempPathFactory, unavailable: Callable[[str], NoReturn]
) -> Iterator[Broker]:
    made = Broker(tmp_path_factory.mktemp("kafka"))
    try:
        made.start()
    except LocalStackError as error:
        unavailable(f"no Kafka: {error}")
    yield made
    made.stop()


@pytest.fixture
async def settings(broker: Broker, topic_prefix: str) -> KafkaSettings:
    made = KafkaSettings(kafka_servers=broker.servers, topic_prefix=topic_prefix)
    await ensure_topics(made, partitions=3, topics=[INBOUND, DIRECTORY])
    return made


async def resend(publisher: Publisher, records: list[OutRecord], seconds: float) -> float:
    """As every caller does: again from the durable source until acknowledged."""
    started = time.monotonic()
    while True:
        try:
            await publisher.publish(records)
        except PublishError:
            if time.monotonic() - started > seconds:
                raise
            await asyncio.sleep(0.1)
        else:
            return time.monotonic() - started


async def test_after_kill_and_return_everything_goes_on(
    broker: Broker, settings: KafkaSettings
) -> None:
    publisher = Publisher(settings, client_id="test")
    await publisher.start()
    held: list[bytes | None] = []
    table = CompactedTable(settings, DIRECTORY, lambda each: held.append(each.value))
    await table.start()
    seen = Seen()
    loop = asyncio.get_running_loop()
    try:
        async with consuming(settings, publisher, seen) as runtime:
            await publisher.publish([record(f"k{i}", b"%d" % i) for i in range(50)])
            await until(lambda: len(seen.values) == 50)
            await table.wait_caught_up(timedelta(seconds=10))

            broker.kill()
            away_since = time.monotonic()
            with pytest.raises(PublishError):
                await publisher.publish([record("a", b"lost?")], timeout=timedelta(seconds=2))
            assert time.monotonic() - away_since < 4
            # An outage is no reason to restart the process.
            assert runtime.live() == []

            await loop.run_in_executor(None, broker.start)
            back = time.monotonic()
            await resend(publisher, [record("b", b"after")], RECOVERY_SECONDS)
            await resend(publisher, [OutRecord(DIRECTORY, b"d", b"after", [])], RECOVERY_SECONDS)
            await until(lambda: b"after" in seen.values, RECOVERY_SECONDS)
            await until(lambda: b"after" in held, RECOVERY_SECONDS)
            assert time.monotonic() - back < RECOVERY_SECONDS
            assert runtime.live() == []
            assert publisher.healthy

            async def all_committed() -> bool:
                return await committed(settings) >= 51

            await until(all_committed, RECOVERY_SECONDS)
    finally:
        await table.aclose()
        await publisher.aclose()


async def test_consumers_and_tables_may_start_before_kafka(
    broker: Broker, settings: KafkaSettings
) -> None:
    loop = asyncio.get_running_loop()
    broker.kill()
    publisher = Publisher(settings, client_id="test")
    await publisher.start()
    table = CompactedTable(settings, DIRECTORY, lambda _: None)
    await table.start()
    seen = Seen()
    try:
        async with consuming(settings, publisher, seen) as runtime:
            assert runtime.ready() != []
            assert runtime.live() == []
            await loop.run_in_executor(None, broker.start)
            await resend(publisher, [record("a", b"1")], RECOVERY_SECONDS)
            await until(lambda: seen.values != [], RECOVERY_SECONDS)
            await table.wait_caught_up(timedelta(seconds=RECOVERY_SECONDS))
            assert runtime.ready() == []
    finally:
        await table.aclose()
        await publisher.aclose()


async def test_a_stop_while_kafka_is_away_keeps_its_deadline(
    broker: Broker, settings: KafkaSettings
) -> None:
    quick = settings.model_copy(update={"kafka_stop_deadline": timedelta(seconds=5)})
    publisher = Publisher(quick, client_id="test")
    await publisher.start()
    seen = Seen()
    async with consuming(quick, publisher, seen):
        await publisher.publish([record("a", b"1")])
        await until(lambda: seen.values == [b"1"])
        broker.kill()
        started = time.monotonic()
    await publisher.aclose()
    assert time.monotonic() - started < 12
    await asyncio.get_running_loop().run_in_executor(None, broker.start)
