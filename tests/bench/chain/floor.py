"""The chain's floor: the same calls with bare clients and nothing else.

ASGI -> aiokafka -> find + bulk_write + insert_many + produce -> a consumer (the load process).
The web side is the floor of `tests.bench.ingest`; this is the middle.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import uuid
from typing import Any

import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import OffsetAndMetadata
from pymongo import UpdateOne

from shared.mongo.client import MongoSettings, create_client


async def work(servers: str, source: str, target: str, database_name: str) -> None:
    """Until SIGTERM: a batch is read, stored, told and committed, then the next one."""
    database = create_client(MongoSettings(), app_name="bench-chain")[database_name]
    consumer = AIOKafkaConsumer(
        source,
        bootstrap_servers=servers,
        group_id=uuid.uuid4().hex,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", enable_idempotence=True)
    await consumer.start()
    await producer.start()
    print("ready", flush=True)
    try:
        await pump(database, consumer, producer, target)
    finally:
        await consumer.stop()
        await producer.stop()


async def pump(
    database: Any, consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, target: str
) -> None:
    while True:
        batches = await consumer.getmany(timeout_ms=100, max_records=500)
        if not batches:
            continue
        found = [message_of(row.value) for batch in batches.values() for row in batch]
        await store(database, found)
        futures = [
            await producer.send(
                target,
                orjson.dumps({"text": one["text"]["body"], "message": one}),
                key=one["from"].encode(),
            )
            for one in found
        ]
        await asyncio.gather(*futures)
        await consumer.commit(
            {
                TopicPartition(tp.topic, tp.partition): OffsetAndMetadata(batch[-1].offset + 1, "")
                for tp, batch in batches.items()
            }
        )


def message_of(body: bytes) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(body)["entry"][0]["changes"][0]["value"]["messages"][0]
    return found


async def store(database: Any, found: list[dict[str, Any]]) -> None:
    last = {one["from"]: one for one in found}
    await database.conversations.find({"_id": {"$in": list(last)}}).to_list(None)
    await database.conversations.bulk_write(
        [
            UpdateOne(
                {"_id": who},
                {"$set": {"last": one["text"]["body"]}, "$inc": {"version": 1}},
                upsert=True,
            )
            for who, one in last.items()
        ],
        ordered=False,
    )
    await database.messages.insert_many(
        [
            {"_id": one["id"], "who": one["from"], "text": one["text"]["body"], "raw": one}
            for one in found
        ],
        ordered=False,
    )


async def main(arguments: dict[str, str]) -> None:
    task = asyncio.create_task(work(**arguments))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.argv[1])))
