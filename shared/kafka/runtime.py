"""Keeps a service's subscriptions running: start, watch, restart in place, stop in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from shared.kafka.failure import FailurePolicy
from shared.kafka.parking import ParkingLot
from shared.kafka.publisher import Publisher
from shared.kafka.releasing import Releaser
from shared.kafka.settings import KafkaSettings
from shared.observability.metrics import Metrics

if TYPE_CHECKING:
    from shared.kafka.subscription import Subscription

log = structlog.get_logger()


class ConsumerRuntime:
    """What the subscriptions of a service share, and their life.

    `start()` returns at once: each subscription connects in the background, as long as it takes.
    `live()` gives the reasons to restart the process, from memory alone; `ready()` those not to
    send it work. `halted` is set when a failure policy stopped a consumer: the process should
    end with an error.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        publisher: Publisher,
        *,
        parking: ParkingLot | None = None,
        policy: FailurePolicy | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.settings = settings
        self.publisher = publisher
        self.parking = parking
        self.policy = policy or FailurePolicy()
        self.metrics = metrics or Metrics()
        self.subscriptions: list[Subscription] = []
        self.halted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, subscription: Subscription) -> None:
        """Take a subscription in; called by `subscribe`."""
        self.subscriptions.append(subscription)

    async def start(self) -> None:
        """Start and watch every subscription."""
        self._tasks = [
            asyncio.create_task(subscription.run(), name=f"subscription {subscription.lot}")
            for subscription in self.subscriptions
        ]
        parking = self.parking
        if parking is None:
            return
        for each in self.subscriptions:
            releaser = Releaser(
                parking,
                each.lot,
                each.replay,
                owned=lambda each=each: each.owned,  # type: ignore[misc]
                topic=each.name,
                metrics=self.metrics,
            )
            self._tasks.append(asyncio.create_task(releaser.run(), name=f"releases {each.lot}"))

    async def aclose(self) -> None:
        """Finish the batches in hand, commit, leave the groups; within the stop deadline."""
        limit = self.settings.kafka_stop_deadline.total_seconds()
        started = time.monotonic()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(each.stop(limit) for each in self.subscriptions))
        log.info("consumers.stopped", seconds=round(time.monotonic() - started, 3))

    def live(self) -> Sequence[str]:
        """Why the process should be restarted; empty when it should not."""
        return [
            f"{each.lot}: {reason}" for each in self.subscriptions if (reason := each.stalled())
        ]

    def ready(self) -> Sequence[str]:
        """Which subscriptions have not joined their group yet."""
        return [f"{each.lot}: not joined" for each in self.subscriptions if not each.joined]
