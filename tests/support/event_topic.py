"""All records of conversation.events.v1, read with a bare client."""

from dataclasses import dataclass
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from shared.contracts.topics import CONVERSATION_EVENTS
from shared.kafka.settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class Told:
    """A record as it stands on the topic."""

    version: int
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


class EventTopic:
    """What was told of each conversation, in the order of the topic."""

    def __init__(self, settings: KafkaSettings) -> None:
        name = settings.topic_name(CONVERSATION_EVENTS)
        self._place = TopicPartition(name, 0)
        self._consumer = AIOKafkaConsumer(
            name,
            bootstrap_servers=settings.kafka_servers,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        self._told: dict[str, list[Told]] = {}

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def told(self, conversation: str) -> list[Told]:
        """Everything of one conversation up to the topic's present end."""
        end = (await self._consumer.end_offsets([self._place]))[self._place]
        while await self._position() < end:
            for records in (await self._consumer.getmany(timeout_ms=50)).values():
                for record in records:
                    version = int(dict(record.headers)["ce_sequence"])
                    self._told.setdefault(record.key.decode(), []).append(
                        Told(version, record.value, tuple(record.headers))
                    )
        return self._told.get(conversation, [])

    async def _position(self) -> int:
        """0 until the consumer knows the partition."""
        if self._place not in self._consumer.assignment():
            return 0
        return int(await self._consumer.position(self._place))
