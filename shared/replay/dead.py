"""Dead letters: list them, look at one, produce them again where they came from, give them up."""

from __future__ import annotations

from collections.abc import Collection

from shared.contracts.records import InRecord, OutRecord
from shared.contracts.topics import Topic
from shared.kafka.dead_letters import KIND, REASON, SOURCE, STAGE, TIME, dead_topic
from shared.kafka.publisher import Publisher
from shared.kafka.scan import scan
from shared.kafka.settings import KafkaSettings
from shared.replay.marks import (
    Action,
    Place,
    Settled,
    Sieve,
    Waiting,
    account,
    mark,
    marked,
    place_of,
)

_ADDED = frozenset({REASON, STAGE, SOURCE, KIND, TIME})


class DeadLetters:
    """The dead-letter topic of one topic. Every method raises ScanError or PublishError."""

    def __init__(self, settings: KafkaSettings, topic: Topic, publisher: Publisher) -> None:
        self._settings = settings
        self._topic = topic
        self._dead = dead_topic(topic)
        self._name = settings.dead_name(topic)
        self._publisher = publisher

    async def waiting(self, *, reason: str | None = None) -> list[Waiting]:
        """Those that nobody settled, by place."""
        sieve = Sieve()
        async for record in scan(self._settings, self._name):
            sieve.take(record)
        return [each for each in sieve.waiting() if reason in (None, each.header(REASON))]

    async def read(self, place: Place) -> InRecord | None:
        """One dead letter, whole."""
        async for record in scan(self._settings, self._name):
            if place_of(record) == place and marked(record.headers) is None:
                return record
        return None

    async def redrive(self, places: Collection[Place], by: str) -> list[Settled]:
        """Produce again with the same key and headers, in the order of the source.

        A copy without its value (too large to be copied) stays. A consumer that has the key
        parked parks the record again: release the key instead.
        """
        chosen = [
            record
            async for record in scan(self._settings, self._name)
            if place_of(record) in places and marked(record.headers) is None
        ]
        done: list[Settled] = []
        for record in sorted(chosen, key=_source):
            if not record.value:
                done.append(Settled(place_of(record), kept="no_value"))
                continue
            headers = [header for header in record.headers if header[0] not in _ADDED]
            again = OutRecord(self._topic, record.key, record.value, headers)
            await self._publisher.publish([again])
            await self._settle(record, Action.REDRIVEN, by)
            done.append(Settled(place_of(record)))
        return done

    async def drop(self, places: Collection[Place], by: str) -> list[Settled]:
        """Give them up: they stay in the topic, marked."""
        done: list[Settled] = []
        async for record in scan(self._settings, self._name):
            if place_of(record) in places and marked(record.headers) is None:
                await self._settle(record, Action.DROPPED, by)
                done.append(Settled(place_of(record)))
        return done

    async def _settle(self, record: InRecord, action: Action, by: str) -> None:
        await self._publisher.publish([mark(self._dead, record, action, by)])
        account(action, self._name, record, by)


def _source(record: InRecord) -> tuple[str, int, int]:
    topic, _, place = dict(record.headers).get(SOURCE, b"").decode().partition("/")
    try:
        partition, offset = map(int, place.split("/"))
    except ValueError:
        return (topic, record.partition, record.offset)
    return (topic, partition, offset)
