"""What is on a topic, read with a bare client."""

from collections.abc import Callable
from typing import Self

from aiokafka import AIOKafkaConsumer

from shared.contracts.topics import Topic
from shared.kafka.settings import KafkaSettings


class TopicReader:
    """All records of a topic so far; `until` reads on until a condition holds."""

    def __init__(self, settings: KafkaSettings, topic: Topic) -> None:
        self._consumer = AIOKafkaConsumer(
            settings.topic_name(topic),
            bootstrap_servers=settings.kafka_servers,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        self.records: list[tuple[str, bytes | None, dict[str, bytes]]] = []

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def until(self, holds: Callable[["TopicReader"], bool]) -> None:
        """Reads until it holds; the test's own timeout is the deadline."""
        while not holds(self):
            for messages in (await self._consumer.getmany(timeout_ms=100)).values():
                for message in messages:
                    self._take(message.key.decode(), message.value, dict(message.headers))

    def _take(self, key: str, value: bytes | None, headers: dict[str, bytes]) -> None:
        # At least once: a version that is sent again at once is the same to the byte.
        last = next((each for each in reversed(self.records) if each[0] == key), None)
        if last is not None and last[2]["ce_id"] == headers["ce_id"]:
            assert last == (key, value, headers)
            return
        self.records.append((key, value, headers))

    def values(self, key: str) -> list[bytes | None]:
        """The values of a key, oldest first."""
        return [value for each, value, _ in self.records if each == key]

    def versions(self, key: str) -> list[int]:
        """The versions of a key in the order of the topic."""
        return [int(headers["ce_sequence"]) for each, _, headers in self.records if each == key]
