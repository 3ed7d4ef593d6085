"""The only way to subscribe: every option that FastStream leaves open is set here, once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from aiokafka import ConsumerRecord
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage
from faststream.kafka.message import FAKE_CONSUMER
from faststream.kafka.subscriber.usecase import BatchSubscriber
from typing_extensions import override

from shared.contracts.topics import Topic
from shared.kafka.accounts import RecordAccounts
from shared.kafka.consumer import GuardedConsumer
from shared.kafka.failure import FailurePolicy, Rejected
from shared.kafka.parking import Handler, ParkingLot
from shared.kafka.progress import Progress
from shared.kafka.runtime import ConsumerRuntime
from shared.kafka.settings import KafkaSettings
from shared.kafka.subscription import PartitionListener, Subscription

__all__ = [
    "AtrioBroker",
    "BatchHandler",
    "ConsumerRuntime",
    "FailurePolicy",
    "ParkingLot",
    "PartitionListener",
    "Progress",
    "RecordAccounts",
    "Rejected",
    "create_broker",
    "subscribe",
]

BatchHandler = Handler
_Batch = tuple[ConsumerRecord[Any, Any], ...]
_MAX_FETCH_BYTES = 2 * 1024 * 1024
_GATHERED_BYTES = 256 * 1024


class AtrioBroker(KafkaBroker):
    """FastStream's broker with our consumer under it and neither producer nor admin client.

    Not to be started: `ConsumerRuntime.start()` starts its subscribers, each on its own.
    """

    def __init__(self, settings: KafkaSettings, *, client_id: str) -> None:
        super().__init__(
            settings.kafka_servers.split(","),
            client_id=client_id,
            consumer_only=True,
            allow_auto_create_topics=False,
            ack_policy=AckPolicy.MANUAL,
            graceful_timeout=settings.kafka_stop_deadline.total_seconds(),
            apply_types=False,
            # The subscription logs one line per batch itself.
            logger=None,
        )
        self._options = settings.client_options()

    @override
    async def _connect(self) -> Any:
        await super()._connect()
        config = self.config.broker_config
        config.builder = partial(GuardedConsumer, **self._options)
        return config.builder


def create_broker(settings: KafkaSettings, *, client_id: str) -> AtrioBroker:
    """A broker for one process; connects to nothing yet."""
    return AtrioBroker(settings, client_id=client_id)


def subscribe(
    broker: KafkaBroker,
    topic: Topic,
    *,
    group: str,
    handler: BatchHandler,
    runtime: ConsumerRuntime,
    max_records: int = 500,
    batch_timeout_ms: int = 20,
    gather: timedelta | None = None,
    listener: PartitionListener | None = None,
    accounts: RecordAccounts | None = None,
) -> None:
    """Register a batch handler for a topic.

    The handler gets records as they were read (tombstones and odd headers included), those of a
    key in order, and returns the ones it could not handle. Offsets are committed after it
    returned. What it raises decides what happens:

    - TransientError: the same records again, with backoff, as long as it takes;
    - PermanentError or anything else: the records again, one by one, to find which; it and the
      later ones of its key are parked (without a parking lot: it alone is dead-lettered), and a
      copy goes to `<topic>.dead`.

    It is therefore called more than once for the same record and must be idempotent.
    `gather`: the broker keeps records back so long, to hand over many at once; for those who need
    not be quick, each fetch costs both sides as much as several records.
    `listener` is told of the partitions that come and go, `accounts` what became of each record.
    """
    settings = runtime.settings
    subscription = Subscription(
        topic, group=group, handler=handler, runtime=runtime, listener=listener, accounts=accounts
    )
    session = int(settings.kafka_session_timeout.total_seconds() * 1000)
    subscriber = broker.subscriber(
        subscription.name,
        batch=True,
        max_records=max_records,
        batch_timeout_ms=batch_timeout_ms,
        group_id=group,
        ack_policy=AckPolicy.MANUAL,
        auto_offset_reset="earliest",
        partition_assignment_strategy=(RoundRobinPartitionAssignor,),
        session_timeout_ms=session,
        heartbeat_interval_ms=session // 4,
        max_poll_interval_ms=int(settings.kafka_max_poll_interval.total_seconds() * 1000),
        fetch_min_bytes=1 if gather is None else _GATHERED_BYTES,
        fetch_max_wait_ms=int((gather or settings.kafka_fetch_max_wait).total_seconds() * 1000),
        max_partition_fetch_bytes=_MAX_FETCH_BYTES,
        listener=subscription,
        no_reply=True,
        title=subscription.lot,
        description=topic.about,
        parser=_raw_message,
        decoder=_raw_records,
    )
    assert isinstance(subscriber, BatchSubscriber)  # noqa: S101 - batch=True above
    subscription.subscriber, subscription.broker = subscriber, broker
    subscriber(subscription.on_batch)
    runtime.add(subscription)


async def _raw_message(messages: _Batch) -> KafkaMessage:
    # FastStream's parser decodes header values as UTF-8 and loses the batch when one is not.
    return KafkaMessage(
        body=b"",
        headers={},
        raw_message=messages,
        message_id="",
        correlation_id="",
        consumer=FAKE_CONSUMER,
    )


async def _raw_records(message: KafkaMessage) -> Sequence[ConsumerRecord[Any, Any]]:
    raw = message.raw_message
    return raw if isinstance(raw, tuple) else (raw,)
