"""Sending: claim, POST once, settle. The rules are those of `models/delivery_model.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from services.delivery.decisions.schedule import Schedule
from services.delivery.decisions.states import target
from services.delivery.model import Claim, FaultPoint, SendRecord, SendStatus, Settlement
from services.delivery.storage import SendRecords
from services.delivery.workflows.clock import Clock, Pause
from services.delivery.workflows.posting import Poster, released
from services.delivery.workflows.settling import Settler, ended_as
from services.delivery.workflows.telling import Teller
from services.delivery.workflows.watching import Watcher
from shared.contracts.errors import TransientError
from shared.faults import FaultPoints
from shared.observability.metrics import Metrics

log = structlog.get_logger()

_CLAIMS = 200


@dataclass(frozen=True, slots=True)
class SendLimits:
    """The times of a claim: `deadline` + connect + total of the POST stay below `lease`."""

    deadline: timedelta = timedelta(seconds=5)
    lease: timedelta = timedelta(seconds=45)


class Sender:
    """Sends the open records of the partitions that this pod owns, chat by chat."""

    def __init__(
        self,
        *,
        records: SendRecords,
        schedule: Schedule,
        poster: Poster,
        teller: Teller,
        limits: SendLimits,
        clock: Clock,
        faults: FaultPoints,
        metrics: Metrics,
        owns: Callable[[int], bool],
        new_token: Callable[[], str],
    ) -> None:
        self._records = records
        self._schedule = schedule
        self._poster = poster
        self._teller = teller
        self._deadline = limits.deadline.total_seconds()
        self._clock = clock
        self._faults = faults
        self._metrics = metrics
        self._new_token = new_token
        self._woken = asyncio.Event()
        self._draining = False
        self._prepared: list[SendRecord] = []
        self._mine: set[str] = set()
        self._unposted: dict[str, Claim] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._owns = owns
        self._settler = Settler(records, faults, self._settled)
        self._watcher = Watcher(
            records=records,
            lease=limits.lease,
            clock=clock,
            found=self._found,
            ended=teller.tell,
        )

    # --- What others tell ---

    def wake(self) -> None:
        """Something changed that may let a record go."""
        self._woken.set()

    def offer(self, records: Sequence[SendRecord]) -> None:
        """Take on open records of owned partitions; known ones are ignored."""
        now = self._clock.monotonic()
        for record in records:
            due = self._clock.due(record.due_at)
            if self._schedule.offer(record, now, due) and record.status is SendStatus.STARTED:
                self._schedule.block(record.id)
                self._watcher.watch(record.id)
        self._metrics.sends_open.set(len(self._schedule))
        self._woken.set()

    def look_at(self, record_ids: Sequence[str]) -> None:
        """Records that are stored but perhaps in no lane here."""
        for record_id in record_ids:
            if record_id not in self._schedule:
                self._watcher.watch(record_id)

    def drop(self, partitions: frozenset[int]) -> None:
        """Forget the lanes of partitions that are another pod's now."""
        self._schedule.drop(partitions)

    @property
    def in_flight(self) -> int:
        return self._schedule.under_way + len(self._settler)

    # --- Life ---

    def reset(self) -> None:
        """Forget everything, after `run` failed; the partitions are to be loaded anew."""
        self._mine.clear()
        self._unposted.clear()
        self._prepared.clear()
        self._watcher.forget()
        self._schedule.forget_flights(self._clock.monotonic())
        self._settler = Settler(self._records, self._faults, self._settled)

    async def run(self) -> None:
        """Send until cancelled; what a crash leaves behind is settled by whoever comes next."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._settler.run(), name="settle")
            tasks.create_task(self._watcher.run(), name="watch")
            tasks.create_task(self._teller.produce(), name="tell")
            tasks.create_task(self._teller.sweep(), name="sweep")
            tasks.create_task(self._claim_all(), name="claim")

    async def drain(self, limit: timedelta) -> None:
        """Claim nothing more and wait until what is under way ended, at most `limit`."""
        self._draining = True
        ends = self._clock.monotonic() + limit.total_seconds()
        while (self.in_flight or not self._teller.idle) and self._clock.monotonic() < ends:  # noqa: ASYNC110 - several parts have to be idle at once
            await asyncio.sleep(0.02)

    # --- Claim ---

    async def _claim_all(self) -> None:
        pause = Pause()
        while True:
            self._woken.clear()
            batch = self._next_batch()
            if batch:
                try:
                    await self._claim(batch)
                except TransientError as error:
                    log.warning("sends.claim_failed", error=str(error), records=len(batch))
                    await pause.wait()
                else:
                    pause.reset()
            else:
                await self._wait()

    def _next_batch(self) -> list[SendRecord]:
        batch, self._prepared = self._prepared, []
        if self._draining:
            return []
        for record in self._schedule.take(self._clock.monotonic(), _CLAIMS - len(batch)):
            if record.media is None:
                batch.append(record)
            else:
                self._spawn(self._prepare(record))
        return batch

    async def _wait(self) -> None:
        due = self._schedule.next_due()
        if due is None or self._draining:
            await self._woken.wait()
            return
        try:
            async with asyncio.timeout(max(0.0, due - self._clock.monotonic())):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def _claim(self, batch: list[SendRecord]) -> None:
        started = self._clock.monotonic()
        token = self._new_token()
        claims = {r.id: Claim(r.id, r.tenant, r.attempt + 1, token) for r in batch}
        self._mine.update(claims)
        await self._faults.reach(FaultPoint.CLAIM_BEFORE)
        try:
            won = await self._records.claim(list(claims.values()))
        except TransientError:
            # Perhaps claimed, certainly not posted: looked at until that is known.
            self._mine.difference_update(claims)
            for record in batch:
                self._unposted[record.id] = claims[record.id]
                self._watcher.watch(record.id)
            raise
        await self._faults.reach(FaultPoint.CLAIM_AFTER)
        for record in batch:
            if record.id in won:
                self._spawn(self._post(record, claims[record.id], started + self._deadline))
            else:
                self._mine.discard(record.id)
                self._watcher.watch(record.id)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        assert self._tasks is not None  # noqa: S101 - only called from run()
        self._tasks.create_task(work)

    # --- POST ---

    async def _prepare(self, record: SendRecord) -> None:
        again = await self._poster.prepare(record)
        if again is None:
            self._prepared.append(record)
        else:
            self._schedule.replace(again, self._clock.monotonic(), self._clock.due(again.due_at))
        self._woken.set()

    async def _post(self, record: SendRecord, claim: Claim, deadline: float) -> None:
        self._settle(record, await self._poster.post(record, claim, deadline))

    # --- Settle ---

    def _settle(self, record: SendRecord, settlement: Settlement) -> None:
        self._metrics.sends.labels(settlement.trigger.value).inc()
        self._settler.settle(record, settlement)

    def _settled(self, record: SendRecord, settlement: Settlement, *, taken: bool) -> None:
        """An outcome was written, or another one stands."""
        self._mine.discard(record.id)
        self._unposted.pop(record.id, None)
        if not taken:
            self._watcher.watch(record.id)
            return
        now = self._clock.monotonic()
        status = target(settlement.trigger)
        if status is SendStatus.RETRY:
            again = replace(
                record,
                status=status,
                attempt=settlement.claim.attempt,
                token=settlement.claim.token,
                retries=settlement.retries,
                due_at=settlement.due_at,
            )
            self._schedule.replace(again, now, self._clock.due(settlement.due_at))
        else:
            self._schedule.remove(record.id, now)
            self._teller.tell(ended_as(record, settlement))
        self._metrics.sends_open.set(len(self._schedule))
        self._woken.set()

    def _found(self, record_id: str, record: SendRecord | None) -> bool:
        """What the store says of a watched record; True to go on looking."""
        if record_id in self._mine:
            return False  # what was read may be older than the claim under way here
        now = self._clock.monotonic()
        claim = self._unposted.get(record_id)
        if record is None or not record.is_open:
            self._unposted.pop(record_id, None)
            self._schedule.remove(record_id, now)
        elif record.status is not SendStatus.STARTED:
            self._unposted.pop(record_id, None)
            if record_id in self._schedule:
                self._schedule.replace(record, now, self._clock.due(record.due_at))
            elif self._owns(record.partition):
                self.offer([record])
        elif claim is not None and claim.token == record.token:
            self._mine.add(record_id)
            self._settle(record, released(record, claim, self._clock.now()))
            return False
        else:
            if record_id not in self._schedule and self._owns(record.partition):
                self.offer([record])
            return record_id in self._schedule
        self._woken.set()
        return False
