"""What the notifier reads from Kafka."""

from __future__ import annotations

from faststream.kafka import KafkaBroker

from services.notifier.workflows.write_feed import WriteFeed
from shared.contracts.topics import AGENT_EVENTS, CONTACT_EVENTS, CONVERSATION_EVENTS
from shared.kafka.runtime import ConsumerRuntime
from shared.kafka.subscribe import subscribe

GROUP = "notifier"


def declare_subscribers(
    broker: KafkaBroker, runtime: ConsumerRuntime, write_feed: WriteFeed
) -> None:
    """Feed every event topic to the rings, each with its own group."""
    for topic in (CONVERSATION_EVENTS, CONTACT_EVENTS, AGENT_EVENTS):
        group = f"{runtime.settings.topic_prefix}{GROUP}.{topic.base}"
        subscribe(broker, topic, group=group, handler=write_feed, runtime=runtime, max_records=500)
