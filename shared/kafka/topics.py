"""Creates the declared topics: `python -m shared.kafka.topics`. Never changes one that exists."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from shared.contracts.topics import ALL, DEAD_LETTER_RETENTION, Topic
from shared.kafka.settings import MAX_RECORD_BYTES, KafkaSettings

_SHOWN_TRIES = 50
_TOPIC_ALREADY_EXISTS = 36


class TopicMismatchError(Exception):
    """A topic exists with another number of partitions than declared; nothing was changed."""


@dataclass(frozen=True, slots=True)
class WantedTopic:
    """A topic as it is to be on the broker."""

    name: str
    partitions: int
    config: dict[str, str]


def _milliseconds(span: timedelta | None) -> str:
    return "-1" if span is None else str(int(span.total_seconds() * 1000))


def wanted_topics(
    settings: KafkaSettings, topics: Iterable[Topic] = ALL, partitions: int | None = None
) -> list[WantedTopic]:
    """Every declared topic and its dead-letter topic, with their settings."""
    wanted = []
    size = {"max.message.bytes": str(MAX_RECORD_BYTES + 128 * 1024)}
    for topic in topics:
        count = partitions or settings.kafka_partitions or topic.partitions
        if topic.compacted:
            config = {
                "cleanup.policy": "compact",
                "delete.retention.ms": _milliseconds(timedelta(days=7)),
            }
        else:
            config = {"cleanup.policy": "delete", "retention.ms": _milliseconds(topic.retention)}
        wanted.append(WantedTopic(settings.topic_name(topic), count, config | size))
        if topic.dead_letters:
            dead = {
                "cleanup.policy": "delete",
                "retention.ms": _milliseconds(DEAD_LETTER_RETENTION),
            }
            wanted.append(WantedTopic(settings.dead_name(topic), count, dead | size))
    return wanted


async def ensure_topics(
    settings: KafkaSettings, *, partitions: int | None = None, topics: Iterable[Topic] = ALL
) -> list[str]:
    """Create what is missing and return its names.

    Raises TopicMismatchError when a topic has another number of partitions than declared: adding
    one would let version 7 of a conversation overtake 6. Raises KafkaError when Kafka is away.
    """
    wanted = wanted_topics(settings, topics, partitions)
    admin = AIOKafkaAdminClient(client_id="atrio-topics", **settings.client_options())
    try:
        await admin.start()
        existing = set(await admin.list_topics())
        missing = [want for want in wanted if want.name not in existing]
        created = []
        if missing:
            answer = await admin.create_topics(
                [
                    NewTopic(
                        name=want.name,
                        num_partitions=want.partitions,
                        replication_factor=settings.kafka_replication,
                        topic_configs=want.config,
                    )
                    for want in missing
                ]
            )
            for name, code, *message in answer.topic_errors:
                if code not in (0, _TOPIC_ALREADY_EXISTS):
                    raise KafkaError(f"{name}: error {code} {message[0] if message else ''}")
                if code == 0:
                    created.append(name)
        await _check_partitions(admin, [want for want in wanted if want.name not in created])
    finally:
        await admin.close()
    return created


async def _partitions(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, int]:
    """Partitions by topic. What another process created a moment ago takes a moment to show."""
    for _ in range(_SHOWN_TRIES):
        described = await admin.describe_topics(names)
        found = {each["topic"]: len(each["partitions"]) for each in described}
        if all(found.values()):
            break
        await asyncio.sleep(0.1)
    return found


async def _check_partitions(admin: AIOKafkaAdminClient, wanted: list[WantedTopic]) -> None:
    if not wanted:
        return
    found = await _partitions(admin, [want.name for want in wanted])
    wrong = [
        f"{want.name} has {found.get(want.name)} partitions, declared {want.partitions}"
        for want in wanted
        if found.get(want.name) != want.partitions
    ]
    if wrong:
        raise TopicMismatchError("; ".join(wrong))


def main() -> int:
    """Create the topics of the environment's settings; the exit code of the process."""
    try:
        created = asyncio.run(ensure_topics(KafkaSettings()))
    except (TopicMismatchError, KafkaError) as error:
        sys.stderr.write(f"topics: {error}\n")
        return 1
    sys.stdout.write(f"topics: {len(created)} created\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
