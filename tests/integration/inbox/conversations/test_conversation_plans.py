"""What is asked all the time finds nothing without looking at a document."""

from typing import Any

import pytest
from pymongo import MongoClient

from services.inbox.app.foundation import now
from services.inbox.settings import InboxSettings
from services.inbox.storage.conversations import ConversationStore
from services.inbox.storage.entries import CONVERSATIONS, MESSAGES
from services.inbox.storage.media import MediaStore
from services.inbox.storage.messages import MessageStore
from services.inbox.storage.presence import PRESENCE, PresenceStore
from services.inbox.storage.tallies import REFUSALS, REPEATS, TallyStore
from shared.kafka.publisher import Publisher
from shared.mongo.client import create_client
from shared.mongo.headlog.log import HeadLog

pytestmark = pytest.mark.integration


async def test_queries_by_partial_indexes_take_them(inbox_settings: InboxSettings) -> None:
    client = create_client(inbox_settings, app_name="plans")
    database = client[inbox_settings.inbox_db]
    log = HeadLog(database, CONVERSATIONS, Publisher(inbox_settings, client_id="plans"))
    messages, media = MessageStore(database), MediaStore(database)
    conversations, tallies = ConversationStore(database), TallyStore(database)
    presence = PresenceStore(database)
    for each in (log, messages, media, conversations, tallies, presence):
        await each.ensure_indexes()
    for collection in (CONVERSATIONS, MESSAGES, REFUSALS, REPEATS, PRESENCE):
        await database[collection].insert_many(
            [{"_id": f"x{number}", "tenant": "t"} for number in range(20)]
        )
    with MongoClient[dict[str, Any]](inbox_settings.mongo_url) as profiling:
        looked = profiling[inbox_settings.inbox_db]
        looked.command({"profile": 1, "filter": {"docsExamined": {"$gt": 0}}})

        assert await log.sweep() == 0
        assert await conversations.due(now(), 10) == []
        assert await presence.due(now(), 10) == []
        assert await messages.look_up(["m"], ["w"]) == []
        assert await messages.conversations_of(["w"]) == {}
        assert not await tallies.blocked("t", ["w"])
        assert not await tallies.repeats("t", ["w"])
        assert [each async for each in media.shown("t", "file")] == []
        assert not await media.is_shown("t", ["digest"])

        looked.command({"profile": 0})
        found = [(each["ns"], each["planSummary"]) for each in looked["system.profile"].find()]
        assert found == []
        profiling.drop_database(inbox_settings.inbox_db)
    client.close()
