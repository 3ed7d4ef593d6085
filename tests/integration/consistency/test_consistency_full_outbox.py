"""While Kafka is away a head keeps what it could not tell; it can hold 16 MB, as any document."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from shared.contracts.envelope import Envelope, timestamp
from shared.contracts.errors import TransientError
from shared.contracts.topics import CONVERSATION_EVENTS
from shared.mongo.headlog import Change, Entry, Head, HeadLog, LogRecord, Step
from tests.support.pods import World

TEXT = b"x" * 3_000_000


class _Kafka:
    there = False

    async def publish_runs(self, runs: Sequence[Any], **_: Any) -> list[bool]:
        return [self.there] * len(runs)


async def test_a_full_outbox_is_an_outage_of_its_head_alone(world: World):
    kafka = _Kafka()
    log = HeadLog(world.database, "full_outbox", kafka, clock=lambda: world.now)
    await log.ensure_indexes()
    envelope = Envelope("e", "conversation.updated", "inbox", timestamp(world.now), world.tenant)

    async def decide(head: Head | None) -> Step[int]:
        version = head.version if head else 0
        record = LogRecord(CONVERSATION_EVENTS, "full", TEXT, envelope)
        carried = head.unpublished if head else ()
        entry = Entry(version + 1, (record,))
        return Step(version + 1, Change("full", version, {}, (entry,), carried))

    done = 0
    refused = False
    while not refused and done < 10:
        try:
            done = await log.change("full", decide)
        except TransientError:
            refused = True
    assert refused
    assert done > 3
    kafka.there = True
    world.now += timedelta(seconds=5)
    await log.sweep()
    assert await log.change("full", decide) == done + 1
    await log.aclose()
