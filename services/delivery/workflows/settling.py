"""Outcomes are written in batches, again and again until the store has answered."""

from __future__ import annotations

from typing import Protocol

import structlog

from services.delivery.decisions.states import target
from services.delivery.model import FaultPoint, Finished, SendRecord, Settlement
from services.delivery.storage import SendRecords
from services.delivery.workflows.clock import Batches, Pause
from shared.contracts.errors import TransientError
from shared.faults import FaultPoints

log = structlog.get_logger()

_BATCH = 500


class Settled(Protocol):
    """Told of each outcome once; `taken` False: the record has another one."""

    def __call__(self, record: SendRecord, settlement: Settlement, *, taken: bool) -> None: ...


class Settler:
    """One bulk write at a time; what comes meanwhile is the next."""

    def __init__(self, records: SendRecords, faults: FaultPoints, settled: Settled) -> None:
        self._records = records
        self._faults = faults
        self._settled = settled
        self._queue: Batches[tuple[SendRecord, Settlement]] = Batches()
        self._writing = 0

    def __len__(self) -> int:
        return len(self._queue) + self._writing

    def settle(self, record: SendRecord, settlement: Settlement) -> None:
        """Write this outcome as soon as possible."""
        self._queue.put((record, settlement))

    async def run(self) -> None:
        """The loop. An outcome is never given up: the compare-and-set may be repeated."""
        pause = Pause()
        while True:
            batch = await self._queue.take(_BATCH)
            self._writing = len(batch)
            await self._faults.reach(FaultPoint.SETTLE_BEFORE)
            while True:
                try:
                    taken = await self._records.settle([settlement for _, settlement in batch])
                except TransientError as error:
                    log.warning("sends.settle_failed", error=str(error), records=len(batch))
                    await pause.wait()
                else:
                    break
            pause.reset()
            await self._faults.reach(FaultPoint.SETTLE_AFTER)
            self._writing = 0
            for record, settlement in batch:
                self._settled(record, settlement, taken=record.id in taken)


def ended_as(record: SendRecord, settlement: Settlement) -> Finished:
    """The end of a record by this outcome. Times are the store's: milliseconds."""
    at = settlement.at.replace(microsecond=settlement.at.microsecond // 1000 * 1000)
    return Finished(
        id=record.id,
        tenant=record.tenant,
        number_id=record.number_id,
        conversation_id=record.conversation_id,
        message_id=record.message_id,
        attempt=settlement.claim.attempt,
        status=target(settlement.trigger),
        at=at,
        wamid=settlement.wamid,
        wa_id=settlement.wa_id,
        user_id=settlement.user_id,
        error=settlement.error,
    )
