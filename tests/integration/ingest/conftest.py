from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.contracts.topics import CREDENTIALS, DIRECTORY, INBOUND, QUARANTINE
from shared.kafka.publisher import Publisher
from shared.kafka.settings import KafkaSettings
from shared.kafka.topics import ensure_topics
from tests.integration.ingest.ingest_rig import Ingest, Reader, running
from tests.support.stack import Addresses
from tests.unit.ingest.entries import credentials_out, number_out

TOPICS = [INBOUND, QUARANTINE, DIRECTORY, CREDENTIALS]


@pytest.fixture
async def settings(stack: Addresses, topic_prefix: str) -> KafkaSettings:
    made = KafkaSettings(kafka_servers=stack.kafka_servers, topic_prefix=topic_prefix)
    await ensure_topics(made, partitions=3, topics=TOPICS)
    return made


@pytest.fixture
async def publisher(settings: KafkaSettings) -> AsyncIterator[Publisher]:
    made = Publisher(settings, client_id="test")
    await made.start()
    await made.publish(
        [
            number_out("n1", "200000000000001", waba_id="100000000000001"),
            number_out("n3", "300", tenant="own", app_id="app-3"),
            credentials_out("n1", app_id=None),
            credentials_out("n3", app_id="app-3", secret="three", verify_token="v3", tenant="own"),
        ]
    )
    yield made
    await made.aclose()


@pytest.fixture
async def ingest(
    settings: KafkaSettings, publisher: Publisher, tmp_path: Path
) -> AsyncIterator[Ingest]:
    async with running(settings, tmp_path / "ingest.log") as made:
        yield made


@pytest.fixture
async def inbound(settings: KafkaSettings) -> AsyncIterator[Reader]:
    async with Reader(settings, INBOUND) as reader:
        yield reader


@pytest.fixture
async def quarantine(settings: KafkaSettings) -> AsyncIterator[Reader]:
    async with Reader(settings, QUARANTINE) as reader:
        yield reader
