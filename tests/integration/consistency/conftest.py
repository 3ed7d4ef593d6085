import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from services.inbox.app.conversations import Conversations
from shared.kafka.publisher import Publisher
from shared.kafka.settings import KafkaSettings
from shared.kafka.topics import ensure_topics
from shared.mongo.client import Client, MongoSettings, create_client
from tests.support.event_topic import EventTopic
from tests.support.pods import World
from tests.support.stack import Addresses


@dataclass(frozen=True, slots=True)
class Kafka:
    settings: KafkaSettings
    publisher: Publisher
    topic: EventTopic


@pytest.fixture(scope="session")
async def kafka(stack: Addresses) -> AsyncIterator[Kafka]:
    """Topics of one partition for all tests: every test has conversations of its own."""
    settings = KafkaSettings(
        kafka_servers=stack.kafka_servers, topic_prefix=f"t{uuid.uuid4().hex[:12]}."
    )
    await ensure_topics(settings, partitions=1)
    publisher = Publisher(settings, client_id="consistency")
    await publisher.start()
    async with EventTopic(settings) as topic:
        yield Kafka(settings, publisher, topic)
    await publisher.aclose()


@pytest.fixture(scope="session")
async def mongo(stack: Addresses) -> AsyncIterator[Client]:
    client = create_client(
        MongoSettings(mongo_url=stack.mongo_url, mongo_min_pool_size=0), app_name="consistency"
    )
    yield client
    client.close()


@pytest.fixture
def rules() -> type[Conversations]:
    """The rules of the world's pods; a test may leave one out."""
    return Conversations


@pytest.fixture
async def world(
    kafka: Kafka, mongo: Client, mongo_db: str, rules: type[Conversations]
) -> AsyncIterator[World]:
    made = World(kafka.settings, mongo[mongo_db], kafka.publisher, kafka.topic, rules)
    await made.prepare(customers=2)
    yield made
    for pod in made.pods:
        await pod.crash()
    await mongo.drop_database(mongo_db)
