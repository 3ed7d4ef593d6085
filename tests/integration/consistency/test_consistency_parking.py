from collections.abc import AsyncIterator

import pytest

from shared.mongo.client import Client
from shared.mongo.parking import MongoParking
from shared.testing.parking import ParkingLotContract

pytestmark = pytest.mark.integration


class TestMongoParking(ParkingLotContract):
    @pytest.fixture
    async def parking(self, mongo: Client, mongo_db: str) -> AsyncIterator[MongoParking]:
        lot = MongoParking(mongo[mongo_db])
        await lot.ensure_indexes()
        yield lot
        await mongo.drop_database(mongo_db)
