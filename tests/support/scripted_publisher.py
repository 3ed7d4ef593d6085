"""A publisher whose next publications go wrong in the ways that Kafka's do."""

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from typing_extensions import override

from shared.contracts.records import OutRecord
from shared.kafka.publisher import PUBLISH_TIMEOUT, Publisher
from shared.kafka.settings import MAX_RECORD_BYTES, KafkaSettings

Runs = Sequence[Sequence[OutRecord]]


class Trouble(Protocol):
    """What happens to one publication."""

    async def publish(self, runs: Runs, publisher: "ScriptedPublisher") -> list[bool]: ...


class ScriptedPublisher(Publisher):
    """Delivers by a real publisher that many share; `trouble` waits for the next publications.

    `falls_apart`: each record is on its own, so that the ones behind a refused one still land.
    """

    def __init__(self, settings: KafkaSettings, real: Publisher) -> None:
        super().__init__(settings, client_id="scripted")
        self._real = real
        self._troubles: deque[Trouble] = deque()
        self.falls_apart = False
        self.answered = asyncio.Event()
        """Set by the first publication that ended, well or not."""

    def expect(self, trouble: Trouble) -> None:
        self._troubles.append(trouble)

    @override
    async def publish_runs(
        self,
        runs: Runs,
        *,
        timeout: timedelta = PUBLISH_TIMEOUT,
    ) -> list[bool]:
        trouble = self._troubles.popleft() if self._troubles else None
        answer = await (trouble.publish(runs, self) if trouble else self.deliver(runs))
        self.answered.set()
        return answer

    async def deliver(self, runs: Runs) -> list[bool]:
        """Really sends."""
        if not self.falls_apart:
            return await self._real.publish_runs(runs)
        return [
            all([all(await self._real.publish_runs([[record]])) for record in run]) for run in runs
        ]


class AnswersLost:
    """The records land; the producer is told nothing in time."""

    async def publish(self, runs: Runs, publisher: ScriptedPublisher) -> list[bool]:
        await publisher.deliver(runs)
        return [False] * len(runs)


class KafkaAway:
    """Nothing lands."""

    async def publish(self, runs: Runs, publisher: ScriptedPublisher) -> list[bool]:  # noqa: ARG002
        return [False] * len(runs)


class Late:
    """Times out with all records in the producer's queue; any prefix may land at any later time."""

    def __init__(self) -> None:
        self._orphans: list[list[OutRecord]] = []
        self._publisher: ScriptedPublisher | None = None

    async def publish(self, runs: Runs, publisher: ScriptedPublisher) -> list[bool]:
        self._orphans = [list(run) for run in runs]
        self._publisher = publisher
        return [False] * len(runs)

    async def land(self, count: int | None = None) -> None:
        """The first `count` records of each run arrive at the broker."""
        if self._publisher is None:
            return  # nothing was published
        landing = [run[:count] for run in self._orphans]
        self._orphans = [run[len(gone) :] for run, gone in zip(self._orphans, landing, strict=True)]
        assert all(await self._publisher.deliver(landing))


class FirstRefused:
    """The first record of each run is refused for good (here: it is too large)."""

    async def publish(self, runs: Runs, publisher: ScriptedPublisher) -> list[bool]:
        return await publisher.deliver([[_too_large(run[0]), *run[1:]] for run in runs if run])


def _too_large(record: OutRecord) -> OutRecord:
    return OutRecord(record.topic, record.key, bytes(2 * MAX_RECORD_BYTES), record.headers)
