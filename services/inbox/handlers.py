"""What inbox subscribes to."""

from __future__ import annotations

from faststream.kafka import KafkaBroker

from services.inbox.workflows.channels import Channels
from services.inbox.workflows.intake import Intake
from services.inbox.workflows.outcomes import Outcomes
from shared.contracts import topics
from shared.kafka.subscribe import ConsumerRuntime, subscribe


def subscribe_all(
    broker: KafkaBroker,
    runtime: ConsumerRuntime,
    intake: Intake,
    outcomes: Outcomes,
    channels: Channels,
) -> None:
    """One group per topic: a rebalance of one does not stop the others."""
    prefix = runtime.settings.topic_prefix
    subscribe(
        broker,
        topics.INBOUND,
        group=f"{prefix}atrio-inbox-inbound",
        handler=intake.handle,
        runtime=runtime,
    )
    subscribe(
        broker,
        topics.DELIVERY_EVENTS,
        group=f"{prefix}atrio-inbox-delivery",
        handler=channels.on_delivery_events,
        runtime=runtime,
    )
    subscribe(
        broker,
        topics.ROUTING_DECISIONS,
        group=f"{prefix}atrio-inbox-routing",
        handler=outcomes.on_decisions,
        runtime=runtime,
    )
