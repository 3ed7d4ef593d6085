"""What inbox subscribes to."""

from __future__ import annotations

from datetime import timedelta

from faststream.kafka import KafkaBroker

from services.inbox.workflows.channels import Channels
from services.inbox.workflows.holders import Holders
from services.inbox.workflows.intake import Intake
from services.inbox.workflows.outcomes import Outcomes
from services.inbox.workflows.searching import Indexing
from shared.contracts import topics
from shared.kafka.accounts import RecordAccounts
from shared.kafka.settings import KafkaSettings
from shared.kafka.subscribe import ConsumerRuntime, subscribe

SEARCH_GATHERS = timedelta(seconds=2)
"""Search may be late; a fetch of few records costs as much as one of many."""


def inbound_group(settings: KafkaSettings) -> str:
    """The group that takes webhooks in."""
    return f"{settings.topic_prefix}atrio-inbox-inbound"


def subscribe_search(broker: KafkaBroker, runtime: ConsumerRuntime, indexing: Indexing) -> None:
    """A group of its own, which holds up nobody."""
    subscribe(
        broker,
        topics.CONVERSATION_EVENTS,
        group=f"{runtime.settings.topic_prefix}atrio-inbox-search",
        handler=indexing.handle,
        runtime=runtime,
        gather=SEARCH_GATHERS,
    )


def subscribe_presence(broker: KafkaBroker, runtime: ConsumerRuntime, holders: Holders) -> None:
    """Who has a socket, and who has none any more."""
    subscribe(
        broker,
        topics.AGENT_EVENTS,
        group=f"{runtime.settings.topic_prefix}atrio-inbox-agents",
        handler=holders.on_agent_events,
        runtime=runtime,
    )


def subscribe_all(
    broker: KafkaBroker,
    runtime: ConsumerRuntime,
    intake: Intake,
    outcomes: Outcomes,
    channels: Channels,
    *,
    accounts: RecordAccounts,
) -> None:
    """One group per topic: a rebalance of one does not stop the others."""
    prefix = runtime.settings.topic_prefix
    subscribe(
        broker,
        topics.INBOUND,
        group=inbound_group(runtime.settings),
        handler=intake.handle,
        runtime=runtime,
        accounts=accounts,
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
