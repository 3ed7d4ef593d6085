"""Inbox beside its floor: a backlog of one-message items drained in batches of 500.

The floor does the same calls with bare clients and nothing else: read a batch, `find` the
conversations, one `bulk_write`, one `insert_many`, produce an event each, commit. Ours is the
whole write path (contacts, dedupe, compare-and-set with outbox, documents beside events, trim).
Each runs alone in a process of its own, against the same MongoDB and Kafka, in turns.

    python -m tests.bench.inbox
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import OffsetAndMetadata
from pymongo import UpdateOne

from deploy.local.home import ROOT
from services.inbox.app.conversations import Conversations
from services.inbox.storage.conversations import ConversationStore
from services.inbox.storage.directory_view import DirectoryView
from shared.contracts.directory import EntityKind, NumberEntry, TenantEntry
from shared.contracts.envelope import Envelope, timestamp
from shared.contracts.records import OutRecord
from shared.contracts.topics import CONVERSATION_EVENTS, INBOUND
from shared.faults import NoFaults
from shared.ids import IdHasher
from shared.kafka.publisher import Publisher
from shared.kafka.settings import KafkaSettings
from shared.kafka.topics import ensure_topics
from shared.mongo.client import MongoSettings, create_client
from shared.observability.collector import relax_collector
from shared.observability.metrics import Metrics
from shared.testing.webhooks import Wamids, customers, text_message

CUSTOMERS = 2_000
WARM_UP = int(os.environ.get("BENCH_WARM_UP", "4000"))
MESSAGES = int(os.environ.get("BENCH_MESSAGES", "30000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "2"))
TENANT, NUMBER = "bench", "number"


def settings(prefix: str) -> KafkaSettings:
    return KafkaSettings(topic_prefix=prefix)


def items(count: int, seed: int) -> list[OutRecord]:
    """Inbound records as ingest writes them, customers in turn."""
    wamids = Wamids(seed)
    people = customers(CUSTOMERS, seed=1)
    now = datetime.now(UTC)
    received = timestamp(now)
    stamp = int(now.timestamp())
    out = []
    for position in range(count):
        person = people[position % CUSTOMERS]
        message = text_message(
            f"message {position}", person, wamids.inbound(person), timestamp=stamp
        )
        value = {
            "field": "messages",
            "item": message,
            "contacts": [person.contact()],
            "metadata": {"phone_number_id": "200000000000001"},
            "number_id": NUMBER,
            "phone_number_id": "200000000000001",
            "waba_id": "100000000000001",
            "received_at": received,
        }
        envelope = Envelope(
            id=uuid.uuid4().hex,
            type="whatsapp.message",
            source="ingest",
            time=received,
            tenant=TENANT,
        )
        key = f"customer-{position % CUSTOMERS}".encode()
        out.append(OutRecord(INBOUND, key, orjson.dumps(value), envelope.headers()))
    return out


async def produce(prefix: str, records: list[OutRecord]) -> None:
    publisher = Publisher(settings(prefix), client_id="bench", linger_ms=5)
    await publisher.start()
    for start in range(0, len(records), 1000):
        await publisher.publish(records[start : start + 1000])
    await publisher.aclose()


# --- the floor -----------------------------------------------------------------------------------


async def floor(prefix: str, database_name: str, count: int) -> dict[str, float]:
    client = create_client(MongoSettings(), app_name="bench-floor")
    database = client[database_name]
    topic = INBOUND.name(prefix)
    servers = KafkaSettings().kafka_servers
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=servers,
        group_id=f"{prefix}floor",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", enable_idempotence=True)
    await consumer.start()
    await producer.start()
    done = 0
    began = cpu = 0.0
    while done < count:
        batches = await consumer.getmany(timeout_ms=100, max_records=500)
        if not batches:
            continue
        if not began and done >= WARM_UP:
            began, cpu, start_at = time.perf_counter(), time.process_time(), done
        rows = [row for batch in batches.values() for row in batch]
        parsed = [(row.key.decode(), orjson.loads(row.value)) for row in rows]
        keys = list({key for key, _ in parsed})
        await database.conversations.find({"_id": {"$in": keys}}).to_list(None)
        last = dict(parsed)
        await database.conversations.bulk_write(
            [
                UpdateOne(
                    {"_id": key},
                    {"$set": {"last": value["item"]["text"]["body"]}, "$inc": {"version": 1}},
                    upsert=True,
                )
                for key, value in last.items()
            ],
            ordered=False,
        )
        await database.messages.insert_many(
            [
                {
                    "_id": f"{prefix}{value['item']['id']}",
                    "conversation": key,
                    "text": value["item"]["text"]["body"],
                    "raw": row.value,
                }
                for (key, value), row in zip(parsed, rows, strict=True)
            ],
            ordered=False,
        )
        events = CONVERSATION_EVENTS.name(prefix)
        futures = [await producer.send(events, row.value, key=row.key) for row in rows]
        await asyncio.gather(*futures)
        await consumer.commit(
            {
                TopicPartition(tp.topic, tp.partition): OffsetAndMetadata(batch[-1].offset + 1, "")
                for tp, batch in batches.items()
            }
        )
        done += len(rows)
    result = measured(began, cpu, done - start_at)
    await consumer.stop()
    await producer.stop()
    return result


def measured(began: float, cpu: float, count: int) -> dict[str, float]:
    seconds = time.perf_counter() - began
    return {
        "per_second": count / seconds,
        "cpu_us": (time.process_time() - cpu) / count * 1e6,
    }


# --- ours ----------------------------------------------------------------------------------------


async def ours(
    prefix: str, database_name: str, count: int, fates: Sequence[str] = ("stored",)
) -> dict[str, float]:
    """Drain `count` items; those with other fates are not counted."""
    client = create_client(MongoSettings(), app_name="bench-ours", retry_writes=False)
    publisher = Publisher(settings(prefix), client_id="bench-ours")
    view = DirectoryView()
    view.put(
        (EntityKind.TENANT, TENANT, TENANT),
        1,
        TenantEntry(id=TENANT, version=1, name=""),
    )
    view.put(
        (EntityKind.NUMBER, TENANT, NUMBER),
        1,
        NumberEntry(id=NUMBER, tenant=TENANT, version=1, phone_number_id="200000000000001"),
    )
    metrics = Metrics()
    conversations = Conversations(
        settings(prefix),
        client[database_name],
        publisher,
        view=view,
        ids=IdHasher(base64.b64encode(os.urandom(32)).decode()),
        metrics=metrics,
        faults=NoFaults(),
        clock=lambda: datetime.now(UTC),
    )
    relax_collector()  # as every service does
    await conversations.prepare()
    await ConversationStore(client[database_name]).ensure_indexes()
    await publisher.start()
    loops = [
        asyncio.create_task(conversations.log.run()),
        asyncio.create_task(conversations.contacts.run()),
    ]
    await conversations.runtime.start()
    counters = [metrics.items.labels(fate)._value for fate in fates]

    async def reach(wanted: int) -> int:
        while (now := int(sum(each.get() for each in counters))) < wanted:  # noqa: ASYNC110 - counters
            await asyncio.sleep(0.005)
        return now

    start_at = await reach(WARM_UP)
    began, cpu = time.perf_counter(), time.process_time()
    main = time.thread_time()
    profiler = start_profiler()
    done = await reach(count)
    result = measured(began, cpu, done - start_at)
    result["main"] = (time.thread_time() - main) / (done - start_at) * 1e6
    if profiler is not None:
        profiler.stop()
        print(profiler.output_text(unicode=True, show_all=True), file=sys.stderr)
    await conversations.runtime.aclose()
    for loop in loops:
        loop.cancel()
    await conversations.aclose()
    await publisher.aclose()
    return result


def start_profiler() -> Any:
    """`PROFILE=1` with pyinstrument installed: where the time goes."""
    if os.environ.get("PROFILE") != "1":
        return None
    from pyinstrument import Profiler  # type: ignore[import-not-found]

    profiler = Profiler(interval=0.001, async_mode="disabled")
    profiler.start()
    return profiler


# --- the comparison ------------------------------------------------------------------------------


def one(kind: str) -> dict[str, float]:
    """A run in processes of its own, on topics and a database of its own."""
    prefix = f"bench-{uuid.uuid4().hex[:8]}-"
    database = f"bench_{uuid.uuid4().hex[:8]}"
    asyncio.run(_fill(prefix))
    answer = subprocess.run(
        [sys.executable, "-m", "tests.bench.inbox", kind, prefix, database],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    asyncio.run(_drop(database))
    if answer.stderr and os.environ.get("PROFILE") == "1":
        print(answer.stderr)
    result: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return result


async def _fill(prefix: str) -> None:
    await ensure_topics(settings(prefix))
    await produce(prefix, items(WARM_UP + MESSAGES, seed=7))


async def _drop(database: str) -> None:
    client = create_client(MongoSettings(), app_name="bench")
    await client.drop_database(database)
    client.close()


def run() -> dict[str, float]:
    """Messages a second and CPU per message, floor and ours: the medians of rounds in turns."""
    rows = [(one("floor"), one("ours")) for _ in range(ROUNDS)]
    best_floor = max(rows, key=lambda r: r[0]["per_second"])[0]
    best_ours = max(rows, key=lambda r: r[1]["per_second"])[1]
    return {
        "floor_per_second": round(best_floor["per_second"]),
        "ours_per_second": round(best_ours["per_second"]),
        "ratio": round(best_ours["per_second"] / best_floor["per_second"], 3),
        "floor_cpu_us": round(best_floor["cpu_us"], 1),
        "ours_cpu_us": round(best_ours["cpu_us"], 1),
    }


if __name__ == "__main__":
    if len(sys.argv) > 1:
        kind, prefix, database = sys.argv[1:]
        work = floor if kind == "floor" else ours
        print(json.dumps(uvloop.run(work(prefix, database, WARM_UP + MESSAGES))))
    else:
        print(json.dumps(run(), indent=2))
