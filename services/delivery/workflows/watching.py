"""Records that somebody else may be working on: looked at until they are free or ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import structlog

from services.delivery.model import Finished, SendRecord, SendStatus
from services.delivery.storage import SendRecords
from services.delivery.workflows.clock import Clock, Pause
from shared.contracts.errors import TransientError

log = structlog.get_logger()

_POLL = 0.5
_BATCH = 500


class Watcher:
    """Follows records whose state in memory is not certain.

    `found` gets each of them as the majority has it (None: it is gone) and says whether to go on
    looking. A claim that is still held when its lease is over becomes `unknown`.
    """

    def __init__(
        self,
        *,
        records: SendRecords,
        lease: timedelta,
        clock: Clock,
        found: Callable[[str, SendRecord | None], bool],
        ended: Callable[[Finished], None],
    ) -> None:
        self._records = records
        self._lease = lease
        self._clock = clock
        self._found = found
        self._ended = ended
        self._watched: dict[str, None] = {}
        self._fresh = asyncio.Event()

    def __len__(self) -> int:
        return len(self._watched)

    def watch(self, record_id: str) -> None:
        """Look at this record now, and again until `found` is satisfied."""
        self._watched[record_id] = None
        self._fresh.set()

    def forget(self) -> None:
        self._watched.clear()

    async def run(self) -> None:
        """The loop; asleep while nothing is watched."""
        pause = Pause()
        while True:
            if not self._watched:
                await self._fresh.wait()
            self._fresh.clear()
            try:
                await self._look(list(self._watched))
            except TransientError as error:
                log.warning("sends.watch_failed", error=str(error))
                await pause.wait()
                self._fresh.set()
                continue
            pause.reset()
            if self._watched:
                try:
                    async with asyncio.timeout(_POLL):
                        await self._fresh.wait()
                except TimeoutError:
                    pass

    async def _look(self, ids: list[str]) -> None:
        for start in range(0, len(ids), _BATCH):
            part = ids[start : start + _BATCH]
            seen = await self._records.read(part)
            held = [r for r in seen.values() if r.status is SendStatus.STARTED]
            if held:
                await self._records.expire(held, self._lease, self._clock.now())
                seen.update(await self._records.read([r.id for r in held]))
            over = []
            for record_id in part:
                record = seen.get(record_id)
                if record is not None and not record.is_open:
                    over.append(record_id)
                if not self._found(record_id, record):
                    self._watched.pop(record_id, None)
            if over:
                for ended in await self._records.finished(over):
                    self._ended(ended)
