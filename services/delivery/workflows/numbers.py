"""What is known of numbers and tenants, and which numbers are stopped."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import datetime

import structlog

from services.delivery.decisions.schedule import Schedule
from services.delivery.gateways.graph import Credentials, Graph
from services.delivery.model import (
    Ambiguous,
    BotHook,
    Done,
    ErrorNote,
    EventNote,
    GraphError,
    NotSent,
    Stop,
    StopNumber,
)
from services.delivery.storage import StoppedNumbers
from services.delivery.workflows.clock import Clock
from services.delivery.workflows.entries import hook_of, parsed, place_of
from services.delivery.workflows.telling import RunPublisher, note_record, number_event
from shared.contracts.directory import (
    CredentialsEntry,
    EntityKind,
    NumberEntry,
    Secrets,
    TenantEntry,
)
from shared.contracts.envelope import read_envelope
from shared.contracts.errors import PermanentError, TransientError
from shared.contracts.records import InRecord
from shared.observability.metrics import Metrics
from shared.sealing import Sealer, SealError

log = structlog.get_logger()

_TICK = 1.0
_REREAD_EVERY = 5.0
_LEVEL_EVERY = 3600.0
_HIGH_PER_SECOND = 1000.0
# Far above the five minutes after which inbox tells again what a topic lost.
_MISSED_FOR = 3600.0

Key = tuple[str, str]


def _nobody() -> None:
    pass


class Numbers:
    """Credentials by (tenant, number), suspended tenants, stops. One per process."""

    def __init__(
        self,
        *,
        sealer: Sealer,
        schedule: Schedule,
        stopped: StoppedNumbers,
        publisher: RunPublisher,
        graph: Graph,
        clock: Clock,
        standard_rate: float,
        metrics: Metrics | None = None,
    ) -> None:
        self._sealer = sealer
        self._schedule = schedule
        self._stopped = stopped
        self._publisher = publisher
        self._graph = graph
        self._clock = clock
        self._standard = standard_rate
        self._metrics = metrics or Metrics()
        self._credentials: dict[Key, Credentials] = {}
        self._bots: dict[Key, BotHook | None] = {}
        self._tenant_of: dict[str, str] = {}
        self._gone: set[Key] = set()
        self._missed: dict[Key, float] = {}
        self._entries: dict[Key, NumberEntry] = {}
        self._tenants: dict[str, int] = {}
        self._erased: set[str] = set()
        self._stops: dict[Key, Stop] = {}
        self._unwritten: list[tuple[Stop, bool]] = []
        self._writing = asyncio.Lock()
        self._levels: dict[Key, float] = {}
        self._counted: set[str] = set()
        self._changed = asyncio.Event()
        self.loaded = asyncio.Event()
        self.complete = asyncio.Event()
        self.on_change: Callable[[], None] = _nobody

    # --- The compacted topics ---

    def apply_directory(self, record: InRecord) -> None:
        """One record of directory.v1: tenants and numbers matter here. Raises PermanentError."""
        tenant, kind, entity_id = place_of(record)
        if kind is EntityKind.NUMBER:
            self._take_number(tenant, entity_id, record.value)
        if kind is not EntityKind.TENANT:
            return
        now = self._clock.monotonic()
        if record.value is None:
            self._erased.add(tenant)
            self._hold_erased(tenant)
            return
        entry = parsed(TenantEntry, record.value)
        if entry.version <= self._tenants.get(tenant, -1):
            return
        self._tenants[tenant] = entry.version
        self._erased.discard(tenant)
        self._schedule.set_suspended(entry.id, now, suspended=entry.status == "suspended")
        self._tell()

    def _hold_erased(self, tenant: str) -> None:
        """Nothing of an erased tenant is sent; when its numbers are gone, what is left ends."""
        if tenant in self._erased:
            left = any(owner == tenant for owner, _ in self._credentials)
            self._schedule.set_suspended(tenant, self._clock.monotonic(), suspended=left)
            self._tell()

    def _take_number(self, tenant: str, number_id: str, value: bytes | None) -> None:
        if value is None:
            self._entries.pop((tenant, number_id), None)
            return
        entry = parsed(NumberEntry, value)
        known = self._entries.get((tenant, number_id))
        if known is None or known.version < entry.version:
            self._entries[tenant, number_id] = entry

    def apply_credentials(self, record: InRecord) -> None:
        """One record of credentials.v1. Raises PermanentError."""
        number_id = (record.key or b"").decode(errors="replace")
        if record.value is None:
            tenant = self._tenant_of.get(number_id) or read_envelope(record.headers).tenant
            self._lose((tenant, number_id))
            return
        entry = parsed(CredentialsEntry, record.value)
        key = (entry.tenant, entry.number_id)
        known = self._credentials.get(key)
        if known is not None and entry.version <= known.version:
            return
        try:
            plain = self._sealer.open(entry.sealed, owner=entry.number_id)
        except SealError as bad:
            raise PermanentError("credentials_not_readable") from bad
        secrets = parsed(Secrets, plain)
        self._credentials[key] = Credentials(
            entry.phone_number_id, secrets.access_token, entry.version
        )
        self._bots[key] = hook_of(secrets)
        self._tenant_of[entry.number_id] = entry.tenant
        self._gone.discard(key)
        self._levels.pop(key, None)
        self._schedule.set_number(*key, self._clock.monotonic(), known=True)
        stop = self._stops.get(key)
        if stop is not None and entry.version > stop.version:
            self._resume(stop)
        self._hold_erased(entry.tenant)
        self._tell()

    def _lose(self, key: Key) -> None:
        """The number was deleted: what is left of it may go, to end as that."""
        self._credentials.pop(key, None)
        self._bots.pop(key, None)
        self._gone.add(key)
        self._schedule.set_number(*key, self._clock.monotonic(), known=True)
        self._hold_erased(key[0])
        stop = self._stops.get(key)
        if stop is not None:
            self._resume(stop)
        self._tell()

    # --- Questions ---

    def credentials(self, tenant: str, number_id: str) -> Credentials | None:
        """The present credentials of a number."""
        return self._credentials.get((tenant, number_id))

    def entry(self, tenant: str, number_id: str) -> NumberEntry | None:
        """What the directory says of a number."""
        return self._entries.get((tenant, number_id))

    def accounts(self) -> dict[tuple[str, str], NumberEntry]:
        """A number that can be asked with, by tenant and WhatsApp Business Account."""
        found: dict[tuple[str, str], NumberEntry] = {}
        for key, entry in self._entries.items():
            if entry.waba_id and key in self._credentials and key not in self._stops:
                found.setdefault((entry.tenant, entry.waba_id), entry)
        return found

    def bot(self, tenant: str, number_id: str) -> BotHook | None:
        """Where the number's bot is told; None where it has none."""
        return self._bots.get((tenant, number_id))

    def is_gone(self, tenant: str, number_id: str) -> bool:
        """Whether the number was deleted.

        Topics forget deletions after days: so is one that neither of them has had for an hour.
        """
        key = (tenant, number_id)
        if self.complete.is_set() and not self._is_known(key):
            self._missed.setdefault(key, self._clock.monotonic())
        return key in self._gone

    def _is_known(self, key: Key) -> bool:
        return key in self._gone or key in self._credentials or key in self._entries

    def stops(self) -> list[Stop]:
        """The numbers that are stopped now."""
        return list(self._stops.values())

    # --- Stop and resume ---

    def stop(
        self,
        tenant: str,
        number_id: str,
        version: int,
        verdict: StopNumber,
        answer: GraphError | NotSent | Ambiguous,
    ) -> None:
        """Send nothing more from this number; `version` is that of the credentials used."""
        key = (tenant, number_id)
        present = self._credentials.get(key)
        if key in self._stops or self.is_gone(*key):
            return
        if present is not None and present.version > version:
            return
        now = self._clock.now()
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        error = ErrorNote(verdict.reason)
        if isinstance(answer, GraphError):
            error = ErrorNote(answer.code, answer.title, answer.detail)
        until = None if verdict.pause is None else now + verdict.pause
        stop = Stop(tenant, number_id, verdict.reason, error, now, version, until)
        log.error("number.stopped", tenant=tenant, number=number_id, reason=verdict.reason)
        self._take_stop(stop)
        self._unwritten.append((stop, True))
        self._tell()

    async def resume(self, tenant: str, number_id: str, stopped_at: datetime) -> None:
        """End the stop of that moment, whichever pod made it; durably. Nothing when it is over.

        Raises TransientError when the store is away: to be called again.
        """
        stop = self._stops.get((tenant, number_id))
        if stop is None or stop.at != stopped_at:
            stop = await self._stopped.find(tenant, number_id, stopped_at)
        if stop is not None:
            self._resume(stop)
            await self._write()

    def resume_now(self, tenant: str, number_id: str) -> bool:
        """An operator says that the cause is gone; False when the number is not stopped."""
        stop = self._stops.get((tenant, number_id))
        if stop is not None:
            self._resume(stop)
        return stop is not None

    def _tell(self) -> None:
        self._changed.set()
        self.on_change()

    def _take_stop(self, stop: Stop) -> None:
        self._stops[stop.tenant, stop.number_id] = stop
        now = self._clock.monotonic()
        self._schedule.set_number(stop.tenant, stop.number_id, now, stopped=True)

    def _resume(self, stop: Stop) -> None:
        self._forget_stop(stop)
        if (stop, False) in self._unwritten:
            return
        log.info("number.resumed", tenant=stop.tenant, number=stop.number_id)
        self._unwritten.append((stop, False))
        self._tell()

    def _forget_stop(self, stop: Stop) -> None:
        self._stops.pop((stop.tenant, stop.number_id), None)
        now = self._clock.monotonic()
        self._schedule.set_number(stop.tenant, stop.number_id, now, stopped=False)

    # --- The loop ---

    async def load(self) -> None:
        """Read the stops of all pods, and produce events that were left behind."""
        stops, events = await self._stopped.all()
        written = {(s.tenant, s.number_id, s.at) for s, _ in self._unwritten}
        there = {(s.tenant, s.number_id): s for s in stops}
        for key, stop in there.items():
            if (*key, stop.at) in written or key in self._stops:
                continue
            present = self._credentials.get(key)
            self._take_stop(stop)
            if self.is_gone(*key) or (present is not None and present.version > stop.version):
                self._resume(stop)
        for key, stop in list(self._stops.items()):
            if key not in there and (*key, stop.at) not in written:
                self._forget_stop(stop)
        self.loaded.set()
        await self._produce(events)

    async def run(self) -> None:
        """Write stops and resumes, follow those of other pods."""
        reread = 0.0
        while True:
            self._changed.clear()
            try:
                await self._write()
                if self._clock.monotonic() >= reread:
                    await self.load()
                    reread = self._clock.monotonic() + _REREAD_EVERY
            except TransientError as error:
                log.warning("numbers.store_away", error=str(error))
            self._end_pauses()
            self._give_up_missed()
            self._count()
            try:
                async with asyncio.timeout(_TICK):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def _count(self) -> None:
        reasons = Counter(stop.reason for stop in self._stops.values())
        for reason in self._counted - reasons.keys():
            self._metrics.numbers_stopped.labels(reason).set(0)
        for reason, stopped in reasons.items():
            self._metrics.numbers_stopped.labels(reason).set(stopped)
        self._counted = set(reasons)

    def _end_pauses(self) -> None:
        now = self._clock.now()
        for stop in list(self._stops.values()):
            if stop.until is not None and stop.until <= now:
                self._resume(stop)

    def _give_up_missed(self) -> None:
        for key in (*self._schedule.used_numbers(), *self._stops):
            self.is_gone(*key)
        now = self._clock.monotonic()
        for key, since in list(self._missed.items()):
            if self._is_known(key):
                del self._missed[key]
            elif now - since > _MISSED_FOR:
                log.warning("number.missed", tenant=key[0], number=key[1])
                self._lose(key)

    async def _write(self) -> None:
        async with self._writing:
            while self._unwritten:
                stop, stopped = self._unwritten[0]
                note = number_event(stop, self._clock.now(), stopped=stopped)
                if stopped:
                    new = await self._stopped.stop(stop, note)
                else:
                    new = await self._stopped.resume(stop, note)
                self._unwritten.pop(0)
                if new:
                    await self._produce([note])

    async def _produce(self, events: list[EventNote]) -> None:
        if not events:
            return
        acked = await self._publisher.publish_runs([[note_record(event)] for event in events])
        for event, durable in zip(events, acked, strict=True):
            if durable:
                await self._stopped.produced(event)

    async def follow_levels(self) -> None:
        """The loop that asks for the throughput level of the numbers in use, each hour."""
        while True:
            await self._look_up_levels()
            await asyncio.sleep(_TICK)

    async def _look_up_levels(self) -> None:
        now = self._clock.monotonic()
        for key in self._schedule.used_numbers():
            who = self._credentials.get(key)
            if who is None or key in self._stops or self._levels.get(key, 0.0) > now:
                continue
            self._levels[key] = now + _LEVEL_EVERY
            answer = await self._graph.number(who)
            if isinstance(answer, Done):
                throughput = answer.members.get("throughput")
                level = throughput.get("level") if isinstance(throughput, dict) else None
                rate = _HIGH_PER_SECOND if level == "HIGH" else self._standard
                self._schedule.set_number(*key, self._clock.monotonic(), full_rate=rate)
                self.on_change()
            else:
                self._levels[key] = now + 60.0
