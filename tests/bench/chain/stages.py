"""Where the time of a message went, read off the topics after a run: nothing is measured twice.

Five moments of each message: due; received by ingest; folded by inbox (the event's time); its
event handed to the producer (the compare-and-set is acknowledged by then); on the socket. The wall
clock of one machine, milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from shared.contracts.envelope import parse_timestamp
from shared.contracts.topics import CONVERSATION_EVENTS, INBOUND, Topic
from shared.kafka.settings import KafkaSettings
from tests.bench.chain.load import quantile

NAMES = (
    "due to received by ingest",
    "received to folded by inbox",
    "folded to stored",
    "stored to the socket",
)


def stages(settings: KafkaSettings, log: Path, mark: str, skip: int) -> dict[str, list[float]]:
    """p50 and p99 of each stage, of the messages from place `skip` on."""
    return asyncio.run(_stages(settings, json.loads(log.read_text()), mark, skip))


async def _stages(
    settings: KafkaSettings, told: list[list[float]], mark: str, skip: int
) -> dict[str, list[float]]:
    received: dict[int, float] = {}
    folded: dict[int, float] = {}
    stored: dict[int, float] = {}
    async for _, value in _records(settings, INBOUND):
        item = value["item"]
        place = _place((item.get("text") or {}).get("body"), mark)
        if place is not None:
            received[place] = parse_timestamp(value["received_at"]).timestamp()
    async for written, value in _records(settings, CONVERSATION_EVENTS):
        message = value.get("message")
        place = _place(message["text"], mark) if message else None
        if place is not None:
            folded[place] = parse_timestamp(value["conversation"]["updated_at"]).timestamp()
            stored[place] = written
    missing = [place for place, (_, arrived) in enumerate(told) if math.isnan(arrived)]
    if missing:
        where = {
            "not on whatsapp.inbound": sum(place not in received for place in missing),
            "not on conversation.events": sum(place not in stored for place in missing),
        }
        print(f"{len(missing)} never arrived: {where}", file=sys.stderr)
    spent: dict[str, list[float]] = {name: [] for name in NAMES}
    for place, (due, arrived) in enumerate(told):
        if place < skip or place not in received or place not in stored or math.isnan(arrived):
            continue
        moments = [due, received[place], folded[place], stored[place], arrived]
        for name, before, after in zip(NAMES, moments, moments[1:], strict=False):
            spent[name].append(1000 * (after - before))
    return {
        name: [quantile(sorted(v), 0.5), quantile(sorted(v), 0.99)] for name, v in spent.items()
    }


def _place(text: object, mark: str) -> int | None:
    if isinstance(text, str) and text.startswith(mark):
        return int(text[len(mark) :])
    return None


async def _records(
    settings: KafkaSettings, topic: Topic
) -> AsyncIterator[tuple[float, dict[str, Any]]]:
    """Every record that is there now: when it was handed to its producer, and its value."""
    name = settings.topic_name(topic)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_servers,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        parts = [TopicPartition(name, part) for part in range(topic.partitions)]
        consumer.assign(parts)
        ends = await consumer.end_offsets(parts)
        await consumer.seek_to_beginning()
        open_ = {part for part in parts if ends[part]}
        while open_:
            for part, batch in (await consumer.getmany(timeout_ms=1000)).items():
                for record in batch:
                    yield record.timestamp / 1000, orjson.loads(record.value)
                if batch[-1].offset + 1 >= ends[part]:
                    open_.discard(part)
    finally:
        await consumer.stop()
