"""Operators look through the quarantine, drive bodies again, or give them up."""

from __future__ import annotations

from collections.abc import Collection

from services.ingest.workflows.accept import Sorter
from services.ingest.workflows.redrive import source_of
from shared.contracts.inbound import QUARANTINE_REASON, REDRIVEN_UP_TO, QuarantineReason
from shared.contracts.records import InRecord
from shared.contracts.topics import INBOUND, QUARANTINE
from shared.kafka.publisher import Publisher
from shared.kafka.scan import scan
from shared.kafka.settings import KafkaSettings
from shared.replay.marks import (
    Action,
    Place,
    Settled,
    Sieve,
    Waiting,
    account,
    mark,
    marked,
    place_of,
)

_UNKNOWN_NUMBER = QuarantineReason.UNKNOWN_NUMBER.value


class Quarantine:
    """The topic as operators see it. Every method raises ScanError or PublishError."""

    def __init__(self, settings: KafkaSettings, sorter: Sorter, publisher: Publisher) -> None:
        self._settings = settings
        self._name = settings.topic_name(QUARANTINE)
        self._sorter = sorter
        self._publisher = publisher

    async def waiting(self, *, reason: str | None = None) -> list[Waiting]:
        """What nobody settled, and what did not drive itself again, by place."""
        sieve = Sieve()
        driven: dict[tuple[int, bytes | None], int] = {}
        async for record in scan(self._settings, self._name):
            up_to = dict(record.headers).get(REDRIVEN_UP_TO)
            if up_to is None:
                sieve.take(record)
            elif up_to.isdigit():
                spot = (record.partition, record.key)
                driven[spot] = max(int(up_to), driven.get(spot, -1))
        return [
            each
            for each in sieve.waiting()
            if reason in (None, each.header(QUARANTINE_REASON)) and not _is_driven(each, driven)
        ]

    async def read(self, place: Place) -> InRecord | None:
        """One body, whole."""
        async for record in scan(self._settings, self._name):
            if place_of(record) == place and _is_body(record):
                return record
        return None

    async def redrive(self, places: Collection[Place], by: str) -> list[Settled]:
        """Split the bodies again, in the order they came in, and produce their items.

        A body kept because of one number gives the items of that number alone: the others were
        produced when it came. What is still not understood stays where it is, with the reason.
        """
        found = [
            record
            async for record in scan(self._settings, self._name)
            if place_of(record) in places and _is_body(record)
        ]
        return [await self._drive(record, by) for record in sorted(found, key=_received)]

    async def _drive(self, record: InRecord, by: str) -> Settled:
        headers = dict(record.headers)
        body, source = record.value or b"", source_of(headers)
        received_at = headers["ce_time"].decode()
        again = self._sorter.sort(body, source, received_at)
        own = headers.get(QUARANTINE_REASON, b"")
        for each in again.records:
            reason = dict(each.headers).get(QUARANTINE_REASON)
            if reason is None or each.key != record.key:
                continue
            if reason == own or record.key is not None:
                return Settled(place_of(record), kept=reason.decode())
        items = [each for each in again.records if each.topic is INBOUND]
        if record.key is not None:
            phone = record.key.decode(errors="replace")
            items = self._sorter.sort(body, source, received_at, only=phone).records
        if not items:
            return Settled(place_of(record), kept="no_items")
        await self._publisher.publish(items)
        await self._settle(record, Action.REDRIVEN, by)
        return Settled(place_of(record))

    async def drop(self, places: Collection[Place], by: str) -> list[Settled]:
        """Give bodies up: they stay in the topic until its retention, marked."""
        done = []
        async for record in scan(self._settings, self._name):
            if place_of(record) in places and _is_body(record):
                await self._settle(record, Action.DROPPED, by)
                done.append(Settled(place_of(record)))
        return done

    async def _settle(self, record: InRecord, action: Action, by: str) -> None:
        await self._publisher.publish([mark(QUARANTINE, record, action, by)])
        account(action, self._name, record, by)


def _is_body(record: InRecord) -> bool:
    return marked(record.headers) is None and REDRIVEN_UP_TO not in dict(record.headers)


def _is_driven(each: Waiting, driven: dict[tuple[int, bytes | None], int]) -> bool:
    if each.header(QUARANTINE_REASON) != _UNKNOWN_NUMBER:
        return False
    return each.place.offset <= driven.get((each.place.partition, each.key), -1)


def _received(record: InRecord) -> tuple[str, Place]:
    return (dict(record.headers).get("ce_time", b"").decode(), place_of(record))
