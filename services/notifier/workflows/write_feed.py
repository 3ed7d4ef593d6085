"""From the topics into the rings."""

from __future__ import annotations

from collections.abc import Sequence

from services.notifier.decisions.events import feed_event
from services.notifier.storage.feed import FeedStore
from shared.contracts.errors import PermanentError
from shared.contracts.records import InRecord
from shared.kafka.subscribe import Rejected
from shared.observability.metrics import Metrics


class WriteFeed:
    """Writes a batch of records in order; a repeated batch changes nothing."""

    def __init__(self, feed: FeedStore, metrics: Metrics) -> None:
        self._feed = feed
        self._metrics = metrics

    async def __call__(self, records: Sequence[InRecord]) -> Sequence[Rejected]:
        """Returns the records that are not of the contract. Raises RedisAwayError."""
        events, rejected = [], []
        for record in records:
            try:
                event = feed_event(record)
            except PermanentError as error:
                rejected.append(Rejected(record, error.reason, stage="read", detail=error.detail))
                continue
            if event is None:
                self._metrics.unknown_types.labels(record.topic).inc()
            else:
                events.append(event)
        for written in await self._feed.write(events):
            if not written.fresh:
                self._metrics.stale.labels("notifier").inc()
            if written.raised:
                self._metrics.epoch_raises.labels(written.raised).inc()
                if written.raised == "gap":
                    self._metrics.gaps.labels("notifier").inc()
        return rejected
