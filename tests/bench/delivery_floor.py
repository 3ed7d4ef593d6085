"""The floor of `tests.bench.delivery`: the same calls with bare clients and nothing else.

Consume commands, `insert_many`, one POST each, one `bulk_write` of outcomes, produce, commit. No
order within a chat, no claims, no limits, nothing after a crash.
"""

from __future__ import annotations

import asyncio
import os

import aiohttp
import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from pymongo import UpdateOne

from shared.contracts import topics
from shared.contracts.envelope import Envelope
from shared.kafka.settings import KafkaSettings
from shared.mongo.client import MongoSettings, create_client
from tests.support.delivery_process import PHONE_NUMBER_ID

_AT_ONCE = 256


async def main() -> None:
    kafka = KafkaSettings()
    client = create_client(MongoSettings(), app_name="bench-floor", retry_writes=False)
    sends = client[os.environ["ATRIO_DELIVERY_DB"]]["sends"]
    url = f"{os.environ['ATRIO_GRAPH_URL']}/v25.0/{PHONE_NUMBER_ID}/messages"
    headers = {"authorization": "Bearer token-1", "content-type": "application/json"}
    consumer = AIOKafkaConsumer(
        kafka.topic_name(topics.OUTBOUND),
        group_id="floor",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        **kafka.client_options(),
    )
    producer = AIOKafkaProducer(acks="all", enable_idempotence=True, **kafka.client_options())
    await consumer.start()
    await producer.start()
    free = asyncio.Semaphore(_AT_ONCE)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def post(command: dict[str, object]) -> str:
            body = {
                "messaging_product": "whatsapp",
                "recipient_type": "individual",
                "to": "+" + command["recipient"]["wa_id"],  # type: ignore[index]
                "type": "text",
                "text": command["body"],
                "biz_opaque_callback_data": command["message_id"],
            }
            async with (
                free,
                session.post(url, data=orjson.dumps(body), headers=headers) as answer,
            ):
                return str(orjson.loads(await answer.read())["messages"][0]["id"])

        while True:
            batches = await consumer.getmany(timeout_ms=100, max_records=500)
            commands = [orjson.loads(row.value) for rows in batches.values() for row in rows]
            if not commands:
                continue
            await sends.insert_many(
                [{"_id": each["message_id"], **each} for each in commands], ordered=False
            )
            wamids = await asyncio.gather(*map(post, commands))
            await sends.bulk_write(
                [
                    UpdateOne({"_id": each["message_id"]}, {"$set": {"wamid": wamid}})
                    for each, wamid in zip(commands, wamids, strict=True)
                ],
                ordered=False,
            )
            told = []
            for each, wamid in zip(commands, wamids, strict=True):
                envelope = Envelope(
                    f"{each['message_id']}:1:accepted",
                    "send.accepted",
                    "floor",
                    each["queued_at"],
                    "acme",
                    each["conversation_id"],
                )
                value = orjson.dumps({"message_id": each["message_id"], "wamid": wamid})
                told.append(
                    await producer.send(
                        kafka.topic_name(topics.DELIVERY_EVENTS),
                        value,
                        key=each["conversation_id"].encode(),
                        headers=envelope.headers(),
                    )
                )
            await asyncio.gather(*told)
            await consumer.commit()


if __name__ == "__main__":
    uvloop.run(main())
