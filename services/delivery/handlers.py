"""The edge to Kafka: one subscription, and the partitions that come with it."""

from __future__ import annotations

from services.delivery.workflows.intake import Intake
from services.delivery.workflows.owning import Ownership
from shared.contracts.topics import OUTBOUND
from shared.kafka.subscribe import AtrioBroker, ConsumerRuntime, create_broker, subscribe


class Partitions:
    """Ownership follows the group: a partition that comes back is read anew."""

    def __init__(self, ownership: Ownership) -> None:
        self._ownership = ownership

    def revoked(self) -> None:
        self._ownership.revoke_all()

    def assigned(self, partitions: frozenset[int]) -> None:
        # Without a call to `revoked` too (a consumer restarted in place) others had them meanwhile.
        self._ownership.revoke_all()
        self._ownership.assign(partitions)


def register(intake: Intake, ownership: Ownership, runtime: ConsumerRuntime) -> AtrioBroker:
    """The broker of this process with its one subscription."""
    broker = create_broker(runtime.settings, client_id="atrio-delivery")
    subscribe(
        broker,
        OUTBOUND,
        group=f"{runtime.settings.topic_prefix}delivery",
        handler=intake.take_in,
        runtime=runtime,
        listener=Partitions(ownership),
    )
    return broker
