"""Parked keys: list them, look into one, have it replayed by its service, give it up."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from shared.contracts.records import InRecord
from shared.kafka.parking import Released
from shared.mongo.parking import MongoParking, ParkedKey

log = structlog.get_logger()

_SHOWN = 1000


class ParkedKeys:
    """The lots of one service. Every method raises TransientError."""

    def __init__(self, parking: MongoParking) -> None:
        self._parking = parking

    async def list(self) -> list[ParkedKey]:
        """The longest parked first."""
        return await self._parking.summary()

    async def records(self, lot: str, key: bytes) -> Sequence[InRecord]:
        """What a key has set aside, in the order of its replay."""
        return await self._parking.oldest(lot, key, _SHOWN)

    async def release(self, lot: str, key: bytes, by: str) -> str:
        """Ask the service to replay the key; the request's id."""
        request = await self._parking.ask(lot, key, by=by)
        log.info("replay.asked", who=by, lot=lot, request=request)
        return request

    async def answered(self, request: str) -> Released | None:
        """What became of a request."""
        return await self._parking.answered(request)

    async def drop(self, lot: str, key: bytes, by: str, *, everything: bool) -> int:
        """Give up the first record of a key (the poison), or all; how many."""
        dropped = 0
        while records := await self._parking.oldest(lot, key, _SHOWN if everything else 1):
            await self._parking.drop(lot, key, records, by=by)
            dropped += len(records)
            for record in records:
                log.info(
                    "replay.dropped",
                    who=by,
                    lot=lot,
                    partition=record.partition,
                    offset=record.offset,
                )
            if not everything:
                break
        return dropped
