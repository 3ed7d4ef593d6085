import pymongo
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from tests.support.stack import Addresses

pytestmark = pytest.mark.integration


async def test_the_fixture_serves_all_three(stack: Addresses, mongo_db: str):
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_servers)
    await admin.start()
    await admin.list_topics()
    await admin.close()
    with pymongo.MongoClient(stack.mongo_url) as client:
        assert client[mongo_db]["kept"].count_documents({}) == 0
        client.drop_database(mongo_db)


def test_the_fixture_is_apart_from_the_stack_of_make_up(stack: Addresses):
    assert not stack.kafka_servers.endswith(":9092")
    assert "127.0.0.1:27017" not in stack.mongo_url
    assert ":6379" not in stack.redis_url
