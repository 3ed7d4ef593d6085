from collections.abc import AsyncIterator

import pytest

from shared.contracts.topics import DIRECTORY, INBOUND
from shared.kafka.publisher import Publisher
from shared.kafka.settings import KafkaSettings
from shared.kafka.topics import ensure_topics
from tests.support.stack import Addresses


@pytest.fixture
async def settings(stack: Addresses, topic_prefix: str) -> KafkaSettings:
    made = KafkaSettings(kafka_servers=stack.kafka_servers, topic_prefix=topic_prefix)
    await ensure_topics(made, partitions=3, topics=[INBOUND, DIRECTORY])
    return made


@pytest.fixture
async def publisher(settings: KafkaSettings) -> AsyncIterator[Publisher]:
    made = Publisher(settings, client_id="test")
    await made.start()
    yield made
    await made.aclose()
