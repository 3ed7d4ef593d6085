"""Follows one item of a webhook: what is stored of it, and what the topics still have."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime, timedelta

from services.inbox.decisions.tracing import Brought, body_has, brought, event_of, told_by_whatsapp
from services.inbox.model.conversation import Message
from services.inbox.model.ledger import Account, Hop, Passed, QuarantinedItem
from services.inbox.model.tally import Place, came_at
from services.inbox.storage.ledger import LedgerStore
from shared.contracts.inbound import QUARANTINE_REASON
from shared.contracts.records import InRecord
from shared.contracts.topics import CONVERSATION_EVENTS, INBOUND, QUARANTINE
from shared.kafka.scan import scan
from shared.kafka.settings import KafkaSettings
from shared.replay.marks import Sieve, marked

_BEFORE = timedelta(seconds=2)
"""Two processes' clocks."""
_MOST = 50_000
"""Records that are looked through for one."""


class Tracing:
    """Reads alone, and only when somebody asks: no item costs anything for it."""

    def __init__(self, store: LedgerStore, settings: KafkaSettings) -> None:
        self._store = store
        self._settings = settings
        # A scan reads what may be much: one after the other.
        self._scanning = asyncio.Lock()

    async def account(self, tenant: str, wamid: str) -> Account:
        """Raises TransientError while MongoDB or Kafka is away."""
        found = await self._store.account(tenant, wamid)
        async with self._scanning:
            if found.message is not None or found.blocked:
                return replace(found, hops=tuple(await self._hops(found)))
            if found.state is None:
                return replace(found, quarantined=tuple(await self._quarantined(tenant, wamid)))
        return found

    async def _hops(self, found: Account) -> list[Passed]:
        message, place = found.message, found.place
        if message is not None and message.direction == "out" and place is None:
            sent = [Passed(Hop.INBOX, message.received_at), *told_by_whatsapp(message)]
            return sorted(sent, key=lambda each: each.at)
        near = found.blocked[0].at if message is None else message.received_at
        record = None if place is None or near is None else await self._record(place, near)
        came = Brought() if record is None else brought(record)
        if message is not None:
            came = replace(came, received_at=message.received_at)
            came = came if message.sent_at is None else replace(came, sent_at=message.sent_at)
        event = None
        if message is not None and not message.deleted:
            event = await self._event(message, came.produced_at or message.received_at)
        return [*_passed(came, event)]

    async def _record(self, place: Place, near: datetime) -> InRecord | None:
        name = self._settings.topic_name(INBOUND)
        records = scan(self._settings, name, since=near - _BEFORE, partition=place.partition)
        async with aclosing(records):
            async for record in records:
                if record.offset >= place.offset:
                    return record if record.offset == place.offset else None
        return None

    async def _event(self, message: Message, since: datetime) -> InRecord | None:
        """The one that told of the message first, while the topic has it."""
        key = message.conversation_id.encode()
        seen = 0
        name = self._settings.topic_name(CONVERSATION_EVENTS)
        records = scan(self._settings, name, since=since - _BEFORE, key=key)
        async with aclosing(records):
            async for record in records:
                seen += 1
                if record.key == key and event_of(record, message.id) is not None:
                    return record
                if seen >= _MOST:
                    break
        return None

    async def _quarantined(self, tenant: str, wamid: str) -> list[QuarantinedItem]:
        numbers = {each.encode() for each in await self._store.phone_number_ids(tenant)}
        sieve, found = Sieve(), {}
        if not numbers:
            return []
        records = scan(self._settings, self._settings.topic_name(QUARANTINE))
        async with aclosing(records):
            async for record in records:
                if marked(record.headers) is not None:
                    sieve.take(record)
                elif record.key in numbers and body_has(record, wamid):
                    sieve.take(record)
                    found[record.partition, record.offset] = record
        return [
            QuarantinedItem(
                each.header(QUARANTINE_REASON),
                brought(found[each.place.partition, each.place.offset]).received_at,
                came_at(found[each.place.partition, each.place.offset]),
            )
            for each in sieve.waiting()
        ]


def _passed(came: Brought, event: InRecord | None) -> Iterator[Passed]:
    times = (
        (Hop.WHATSAPP, came.sent_at),
        (Hop.INGEST, came.received_at),
        (Hop.KAFKA, came.produced_at),
        (Hop.INBOX, None if event is None else brought(event).received_at),
        (Hop.EVENT, None if event is None else came_at(event)),
    )
    for hop, at in times:
        if at is not None:
            yield Passed(hop, at)
