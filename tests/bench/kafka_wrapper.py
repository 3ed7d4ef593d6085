"""What the subscribe wrapper costs beside a bare aiokafka loop doing the same work.

`python -m tests.bench.kafka_wrapper --servers 127.0.0.1:9092`: best of the rounds, interleaved.
"""

import argparse
import asyncio
import json
import time
import uuid
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition

from shared.contracts.records import InRecord, OutRecord
from shared.contracts.topics import INBOUND
from shared.kafka.publisher import Publisher
from shared.kafka.runtime import ConsumerRuntime
from shared.kafka.settings import KafkaSettings
from shared.kafka.subscribe import create_broker, subscribe
from shared.kafka.topics import ensure_topics
from shared.observability.logs import configure_logging

HEADERS = [(f"ce_{name}", b"0123456789abcdef") for name in ("id", "type", "source", "time")]
BATCH = 500


def work(value: bytes | None) -> object:
    return json.loads(value or b"{}")


async def bare(settings: KafkaSettings, count: int) -> tuple[float, float]:
    consumer = AIOKafkaConsumer(
        settings.topic_name(INBOUND),
        group_id=uuid.uuid4().hex,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=2 * 1024 * 1024,
        **settings.client_options(),
    )
    await consumer.start()
    done = 0
    started, cpu = time.perf_counter(), time.process_time()
    while done < count:
        fetched = await consumer.getmany(timeout_ms=250, max_records=BATCH)
        offsets: dict[TopicPartition, int] = {}
        for partition, messages in fetched.items():
            for message in messages:
                work(message.value)
            done += len(messages)
            offsets[partition] = messages[-1].offset + 1
        if offsets:
            await consumer.commit(offsets)
    spent = time.perf_counter() - started, time.process_time() - cpu
    await consumer.stop()
    return spent


async def wrapped(settings: KafkaSettings, publisher: Publisher, count: int) -> tuple[float, float]:
    done, all_done = 0, asyncio.Event()
    began: list[tuple[float, float]] = []

    async def handle(records: Sequence[InRecord]) -> None:
        nonlocal done
        if not began:
            began.append((time.perf_counter(), time.process_time()))
        for record in records:
            work(record.value)
        done += len(records)
        if done >= count:
            all_done.set()

    runtime = ConsumerRuntime(settings, publisher)
    broker = create_broker(settings, client_id="bench")
    group = uuid.uuid4().hex
    subscribe(broker, INBOUND, group=group, handler=handle, runtime=runtime, max_records=BATCH)
    await runtime.start()
    await all_done.wait()
    spent = time.perf_counter() - began[0][0], time.process_time() - began[0][1]
    await runtime.aclose()
    return spent


def cost_of_a_record() -> float:
    """Microseconds to make an InRecord, best of 5."""
    headers = tuple(HEADERS)
    best = 1.0
    for _ in range(5):
        started = time.perf_counter()
        for offset in range(100_000):
            InRecord("t", 1, offset, b"k", b"v", headers, 1)
        best = min(best, (time.perf_counter() - started) / 100_000)
    return best * 1e6


async def measure(servers: str, count: int, rounds: int) -> dict[str, float]:
    """Records a second and CPU of each, bare and wrapped."""
    prefix = f"bench{uuid.uuid4().hex[:8]}."
    settings = KafkaSettings(kafka_servers=servers, topic_prefix=prefix)
    await ensure_topics(settings, partitions=4, topics=[INBOUND])
    publisher = Publisher(settings, client_id="bench")
    await publisher.start()
    value = json.dumps({"type": "message", "text": "x" * 400}).encode()
    for first in range(0, count, BATCH):
        wanted = range(first, min(first + BATCH, count))
        await publisher.publish([OutRecord(INBOUND, b"k%d" % n, value, HEADERS) for n in wanted])
    floors, ours = [], []
    for _ in range(rounds):
        floors.append(await bare(settings, count))
        ours.append(await wrapped(settings, publisher, count))
    await publisher.aclose()
    floor, our = min(floors), min(ours)
    return {
        "floor_per_s": round(count / floor[0]),
        "ours_per_s": round(count / our[0]),
        "ratio": round(floor[0] / our[0], 3),
        "floor_cpu_us": round(floor[1] / count * 1e6, 1),
        "ours_cpu_us": round(our[1] / count * 1e6, 1),
    }


async def main(servers: str, count: int, rounds: int) -> None:
    found = await measure(servers, count, rounds)
    print(f"{'':10}{'records/s':>12}{'us of CPU each':>16}")
    print(f"{'bare':10}{found['floor_per_s']:12,.0f}{found['floor_cpu_us']:16.1f}")
    print(f"{'wrapper':10}{found['ours_per_s']:12,.0f}{found['ours_cpu_us']:16.1f}")
    print(f"ratio {found['ratio']:.2f}; an InRecord {cost_of_a_record():.2f} us")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", default=KafkaSettings().kafka_servers)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    configure_logging(service="bench", level="ERROR")
    asyncio.run(main(given.servers, given.count, given.rounds))
