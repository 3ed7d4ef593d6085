"""A number that appeared gets what waited for it in quarantine."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import structlog

from services.ingest.decisions.quarantine import Waiting
from services.ingest.gateways import QuarantineLog
from services.ingest.model import Source
from services.ingest.storage import Directory
from services.ingest.workflows.accept import Sorter, octet_headers
from shared.contracts.envelope import timestamp
from shared.contracts.errors import TransientError
from shared.contracts.inbound import (
    QUARANTINE_APP,
    QUARANTINE_REASON,
    QUARANTINE_TENANTS,
    REDRIVEN_UP_TO,
    QuarantineReason,
)
from shared.contracts.records import InRecord, OutRecord
from shared.contracts.topics import QUARANTINE
from shared.kafka.publisher import Publisher
from shared.replay.marks import marked

REDRIVEN = "whatsapp.redriven"
_UNKNOWN_NUMBER = QuarantineReason.UNKNOWN_NUMBER.value.encode()

log = structlog.get_logger()


class Redrive:
    """Follows the quarantine and drives `unknown_number` again when the number is there.

    Each partition belongs to one pod of the group. What is done is marked in the partition
    itself, so a restart or another pod goes on; in the worst case something is driven twice.
    """

    def __init__(
        self,
        quarantine: QuarantineLog,
        sorter: Sorter,
        directory: Directory,
        publisher: Publisher,
        *,
        ready: Callable[[], bool],
        timeout: timedelta,
    ) -> None:
        self._quarantine = quarantine
        self._sorter = sorter
        self._directory = directory
        self._publisher = publisher
        self._ready = ready
        self._timeout = timeout
        self._waiting: dict[int, Waiting] = {}
        self._committed: dict[int, int] = {}

    async def run(self) -> None:
        """Go on until cancelled; broker trouble is waited out."""
        delay = 0.2
        while True:
            self._waiting, self._committed = {}, {}
            try:
                await self._quarantine.open()
                while True:
                    await self.turn()
                    delay = 0.2
            except TransientError as error:
                log.warning("redrive.paused", error=type(error).__name__, retry=delay)
            finally:
                await self._quarantine.aclose()
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            delay = min(delay * 2, 5.0)

    async def turn(self) -> None:
        """Read on, then drive what can be driven."""
        for record in await self._quarantine.poll():
            self._note(record)
        owned = self._quarantine.owned()
        for partition in self._waiting.keys() - owned:
            del self._waiting[partition]
            self._committed.pop(partition, None)
        if not self._ready():
            return
        # Before its end a partition may still hold the mark that says it is done.
        ends = await self._quarantine.at_end()
        for partition in ends:
            for phone, first, last in self._waiting.get(partition, Waiting()).spans():
                if self._directory.number(phone) is not None:
                    await self._drive(partition, phone, first, last)
        await self._commit(ends)

    def _note(self, record: InRecord) -> None:
        if record.key is None:
            return
        phone = record.key.decode(errors="replace")
        headers = dict(record.headers)
        waiting = self._waiting.setdefault(record.partition, Waiting())
        up_to = headers.get(REDRIVEN_UP_TO, b"")
        if up_to.isdigit():
            waiting.settle(phone, int(up_to))
        elif (of := marked(record.headers)) is not None:
            if of.partition == record.partition:
                waiting.skip(phone, of.offset)
        elif headers.get(QUARANTINE_REASON) == _UNKNOWN_NUMBER:
            waiting.add(phone, record.offset)

    async def _drive(self, partition: int, phone: str, first: int, last: int) -> None:
        driven = 0
        skipped = self._waiting[partition].skipped(phone)
        async for record in self._quarantine.between(partition, first, last):
            headers = dict(record.headers)
            if record.key != phone.encode() or record.value is None or record.offset in skipped:
                continue
            if headers.get(QUARANTINE_REASON) != _UNKNOWN_NUMBER:
                continue
            received_at = headers["ce_time"].decode()
            found = self._sorter.sort(record.value, source_of(headers), received_at, only=phone)
            await self._publisher.publish(found.records, timeout=self._timeout)
            driven += len(found.records)
        mark = [
            *octet_headers(REDRIVEN, timestamp(datetime.now(UTC))),
            (REDRIVEN_UP_TO, str(last).encode()),
        ]
        await self._publisher.publish(
            [OutRecord(QUARANTINE, phone.encode(), b"", mark)], timeout=self._timeout
        )
        self._waiting[partition].settle(phone, last)
        log.info("redrive.done", partition=partition, records=driven)

    async def _commit(self, ends: dict[int, int]) -> None:
        moved = {
            partition: mark
            for partition, position in ends.items()
            if (mark := self._waiting.get(partition, Waiting()).watermark(position))
            != self._committed.get(partition)
        }
        if moved:
            await self._quarantine.commit(moved)
            self._committed.update(moved)


def source_of(headers: Mapping[str, bytes]) -> Source:
    """Whose secret signed a quarantined body."""
    app, tenants = headers.get(QUARANTINE_APP), headers.get(QUARANTINE_TENANTS)
    return Source(
        app_id=None if app is None else app.decode(),
        tenants=None if tenants is None else frozenset(tenants.decode().split(",")),
    )
