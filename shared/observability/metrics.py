"""The one registry: every metric of every service, each with a line on what it is for.

Names start with `atrio_`. A label never holds a tenant, a phone number, a name or an id;
a number's own id is the one exception, where an alarm must say which number.
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Metrics:
    """All metrics of the system on one registry; built once in a service's `app.py`."""

    def __init__(  # noqa: PLR0915 - a list
        self, registry: CollectorRegistry | None = None
    ) -> None:
        self.registry = registry or CollectorRegistry()

        # --- Kafka: is every hop fed, fast and clean? ---
        # Age of a record (now - its Kafka timestamp) when its batch is done: the delay of a hop.
        self.hop_age = self._histogram("hop_age_seconds", "Age of records when handled.", "topic")
        # Large batches mean backlog, slow ones mean a slow dependency.
        self.batch_size = self._histogram(
            "batch_records", "Records per handled batch.", "topic", buckets=_SIZES
        )
        self.batch_seconds = self._histogram(
            "batch_duration_seconds", "Time to handle and commit a batch.", "topic"
        )
        # Throughput per topic; `outcome` is handled, rejected or parked.
        self.records = self._counter("records", "Records consumed.", "topic", "outcome")
        # Alarm: anything here needs an operator. `kind` is permanent or bug.
        self.dead_letters = self._counter(
            "dead_letters", "Records copied to a dead-letter topic.", "topic", "stage", "kind"
        )
        # Alarm: records queue behind a poison record of their key.
        self.parked_records = self._counter("parked_records", "Records parked.", "topic")
        self.parked_keys = self._gauge("parked_keys", "Keys seen parked by this process.", "topic")
        # Operators' releases of parked keys; `outcome` is done, or stopped at a record again.
        self.releases = self._counter("parked_releases", "Keys released.", "topic", "outcome")
        # Alarm when it grows: a dependency is down and the consumer pauses.
        self.batch_retries = self._counter(
            "batch_retries", "Batches retried after a transient error.", "topic"
        )
        self.paused = self._gauge(
            "consumer_paused", "1 while backing off, partitions held.", "topic"
        )
        # Backlog of the assigned partitions, as of the last fetch.
        self.lag = self._gauge("consumer_lag_records", "Records behind the end.", "topic")
        # Restarts in place: a consumer was alive and idle, or its loop ended.
        self.consumer_restarts = self._counter(
            "consumer_restarts", "Consumers rebuilt by the watchdog.", "topic", "reason"
        )
        self.rebalances = self._counter("rebalances", "Partition assignments received.", "topic")
        self.commit_failures = self._counter(
            "commit_failures", "Commits refused after a lost partition.", "topic"
        )
        # A stopped consumer: the share of dead letters went over its limit.
        self.consumer_stopped = self._gauge(
            "consumer_stopped", "1 when the failure policy stopped it.", "topic"
        )
        # Publishing: `outcome` is acked, failed or timeout.
        self.published = self._counter("published", "Records published.", "outcome")
        self.publish_seconds = self._histogram("publish_duration_seconds", "Enqueue to ack.")
        # Alarm: the idempotent producer wedged and was replaced.
        self.producer_rebuilds = self._counter(
            "producer_rebuilds", "Producers dropped and rebuilt.", "reason"
        )
        # Whether the in-memory tables of compacted topics are complete.
        self.table_caught_up = self._gauge("table_caught_up", "1 when read to the end.", "topic")
        self.table_records = self._counter(
            "table_records", "Records applied to a table.", "topic", "outcome"
        )

        # --- Process: is the loop free? ---
        # Above 0.1 s heartbeats are late and the group rebalances.
        self.loop_lag = self._gauge("loop_lag_seconds", "Worst delay of the event loop, last 10 s.")

        # --- Ingest: is every webhook answered, and with what? ---
        self.webhooks = self._counter("webhooks", "Webhooks by answer.", "status")
        self.webhook_seconds = self._histogram("webhook_duration_seconds", "Webhook to answer.")
        self.webhook_items = self._counter("webhook_items", "Items split from webhooks.", "kind")
        # Alarm on its age: Meta sends nothing for a number (subscription, app, account).
        self.number_seen = self._gauge(
            "number_last_webhook_timestamp_seconds",
            "Last webhook of a number, or learnt.",
            "number",
        )
        self.quarantined = self._counter("quarantined", "Bodies in quarantine.", "reason")

        # --- Inbox: is the head of the log healthy? ---
        # Alarm: nothing should wait for the sweeper for long.
        self.outbox_oldest = self._gauge("outbox_oldest_seconds", "Age of the oldest outbox entry.")
        self.duplicates = self._counter("duplicates", "Items already known.", "kind")
        # Types that this version does not know: skipped, never an error.
        self.unknown_types = self._counter("unknown_types", "Records of unknown type.", "topic")
        self.cas = self._counter("cas", "Compare-and-sets by outcome.", "outcome")
        self.api_requests = self._counter("api_requests", "REST calls.", "route", "status")
        self.api_seconds = self._histogram("api_duration_seconds", "REST call.", "route")

        # What became of items, outcomes and decisions: stored, duplicate, blocked, waiting, ...
        self.items = self._counter("items", "Items by fate.", "fate")

        # --- Routing: who waits, and why? ---
        self.decisions = self._counter("routing_decisions", "Decisions.", "outcome", "reason")
        self.decision_seconds = self._histogram("routing_decision_seconds", "Event to decision.")
        self.waiting = self._gauge("routing_waiting", "Conversations On Hold known here.")
        self.rebuilds = self._counter("routing_rebuilds", "Projections rebuilt.", "reason")

        # --- Readers of versioned events: is the feed whole? ---
        # Alarm: a gap that stays means a lost event.
        self.gaps = self._counter("version_gaps", "Versions that did not follow.", "reader")
        self.stale = self._counter("version_stale", "Events at or below the known one.", "reader")

        # --- Notifier: are agents fed in time? ---
        self.sockets = self._gauge("sockets", "Open streams.", "kind")
        self.frames = self._counter("frames", "Frames sent.", "type")
        self.socket_closes = self._counter("socket_closes", "Streams closed.", "code")
        self.resumes = self._counter("resumes", "Resume attempts.", "outcome")
        # Everybody resyncs: dear, so its cause is told.
        self.epoch_raises = self._counter("feed_epoch_raises", "Feed epochs raised.", "reason")

        # --- Delivery: what became of a send? ---
        # Alarm on unknown: a human must look.
        self.sends = self._counter("sends", "Sends by outcome.", "outcome")
        self.send_seconds = self._histogram("send_duration_seconds", "POST to Graph's answer.")
        self.send_wait = self._histogram("send_wait_seconds", "Command stored to POST.")
        self.sends_open = self._gauge("sends_open", "Send records that are not final, this pod.")
        self.throttled = self._counter("sends_throttled", "Sends held by a limit.", "limit")
        # Templates read and subscriptions looked at; `outcome`: done, present, restored, failed.
        self.account_checks = self._counter("account_checks", "Looks at WABAs.", "kind", "outcome")
        # Alarm: nothing is sent from these numbers; most causes need an admin (see the runbook).
        self.numbers_stopped = self._gauge("numbers_stopped", "Numbers stopped now.", "reason")
        # Tenants' bots: `outcome` is told, later, or failed, which costs the bot its chat.
        self.bot_calls = self._counter("bot_calls", "Attempts to tell a bot.", "outcome")
        self.bot_seconds = self._histogram("bot_call_duration_seconds", "POST to a bot's answer.")
        self.media = self._counter("media", "Media transfers.", "direction", "outcome")
        # Files that agents handed in and never sent.
        self.uploads_expired = self._counter("uploads_expired", "Unsent uploads erased.")

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"atrio_{name}", about, labels, registry=self.registry)

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        return Gauge(f"atrio_{name}", about, labels, registry=self.registry)

    def _histogram(
        self, name: str, about: str, *labels: str, buckets: Sequence[float] = _SECONDS
    ) -> Histogram:
        return Histogram(f"atrio_{name}", about, labels, registry=self.registry, buckets=buckets)

    def render(self) -> tuple[bytes, str]:
        """The exposition text and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST
