import asyncio
import os
import sys
from dataclasses import replace

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from shared.contracts.topics import ALL, CONVERSATION_EVENTS, DIRECTORY, INBOUND
from shared.kafka.settings import KafkaSettings
from shared.kafka.topics import TopicMismatchError, ensure_topics
from tests.support.stack import Addresses

pytestmark = pytest.mark.integration


async def config_of(settings: KafkaSettings, topic: str) -> dict[str, str]:
    admin = AIOKafkaAdminClient(**settings.client_options())
    await admin.start()
    try:
        [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    finally:
        await admin.close()
    return {entry[0]: entry[1] for entry in answer.resources[0][4]}


async def test_topics_are_created_once_with_their_retention(
    stack: Addresses, topic_prefix: str
) -> None:
    settings = KafkaSettings(kafka_servers=stack.kafka_servers, topic_prefix=topic_prefix)
    created = await ensure_topics(settings, partitions=2)
    dead = sum(topic.dead_letters for topic in ALL)
    assert len(created) == len(ALL) + dead
    assert await ensure_topics(settings, partitions=2) == []
    inbound = await config_of(settings, settings.topic_name(INBOUND))
    assert inbound["retention.ms"] == str(14 * 24 * 3600 * 1000)
    assert int(inbound["max.message.bytes"]) > 5 * 1024 * 1024
    directory = await config_of(settings, settings.topic_name(DIRECTORY))
    assert directory["cleanup.policy"] == "compact"


async def test_another_number_of_partitions_is_an_error_and_changes_nothing(
    stack: Addresses, topic_prefix: str
) -> None:
    settings = KafkaSettings(kafka_servers=stack.kafka_servers, topic_prefix=topic_prefix)
    topic = replace(CONVERSATION_EVENTS, partitions=2)
    await ensure_topics(settings, topics=[topic])
    with pytest.raises(TopicMismatchError, match="has 2 partitions, declared 3"):
        await ensure_topics(settings, topics=[replace(topic, partitions=3)])
    assert await ensure_topics(settings, topics=[topic]) == []


async def test_the_command_creates_topics_of_a_lane(stack: Addresses, topic_prefix: str) -> None:
    env = os.environ | {
        "ATRIO_KAFKA_SERVERS": stack.kafka_servers,
        "ATRIO_TOPIC_PREFIX": topic_prefix,
        "ATRIO_LANE": "big",
        "ATRIO_KAFKA_PARTITIONS": "1",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "shared.kafka.topics", env=env, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert b"created" in out
    settings = KafkaSettings(
        kafka_servers=stack.kafka_servers, topic_prefix=topic_prefix, lane="big"
    )
    assert settings.topic_name(INBOUND) == f"{topic_prefix}whatsapp.inbound.v1.big"
    assert await ensure_topics(settings, partitions=1) == []


async def test_without_kafka_the_command_says_so_in_one_line() -> None:
    env = os.environ | {"ATRIO_KAFKA_SERVERS": "127.0.0.1:1"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "shared.kafka.topics", env=env, stderr=asyncio.subprocess.PIPE
    )
    _, err = await process.communicate()
    assert process.returncode == 1
    assert err.decode().strip().splitlines()[-1].startswith("topics: ")
