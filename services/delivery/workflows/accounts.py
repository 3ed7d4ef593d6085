"""WhatsApp Business Accounts: their templates are read, their webhooks' subscription is kept.

Both are reads that cost nothing. Each account has one pod that looks after it: the owner of the
partition that its id falls into.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import structlog

from services.delivery.gateways.graph import Credentials, Graph
from services.delivery.model import CallAnswer, CallRecord, Done, GraphError
from services.delivery.workflows.clock import Clock
from services.delivery.workflows.numbers import Numbers
from services.delivery.workflows.telling import SOURCE, RunPublisher
from shared.contracts import topics
from shared.contracts.directory import NumberEntry
from shared.contracts.envelope import Envelope, timestamp
from shared.contracts.errors import TransientError
from shared.contracts.events import DeliveryEventType
from shared.contracts.records import OutRecord
from shared.observability.metrics import Metrics

log = structlog.get_logger()

_TICK = 2.0
_AT_ONCE = 4
_AGAIN = 60.0
_PAGES = 100
# A part stays far below the largest record; what one template may hold is limited by Meta.
_PART_BYTES = 512 * 1024

Place = tuple[str, str]
"""Tenant and WhatsApp Business Account."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Which accounts are this pod's."""

    owned: Callable[[], Collection[int]]
    partitions: int

    def has(self, waba_id: str) -> bool:
        return zlib.crc32(waba_id.encode()) % self.partitions in self.owned()


@dataclass(frozen=True, slots=True)
class Every:
    """Seconds between two looks."""

    templates: float
    subscriptions: float


class Accounts:
    """Looks at each account in its time, and at once when it is asked to."""

    def __init__(
        self,
        *,
        graph: Graph,
        numbers: Numbers,
        publisher: RunPublisher,
        clock: Clock,
        metrics: Metrics,
        turn: Turn,
        every: Every,
    ) -> None:
        self._graph = graph
        self._numbers = numbers
        self._publisher = publisher
        self._clock = clock
        self._metrics = metrics
        self._turn = turn
        self._every = every
        self._due: dict[tuple[str, Place], float] = {}
        self._read_at: dict[Place, datetime] = {}

    async def run(self) -> None:
        """The loop."""
        while True:
            await self.look()
            await asyncio.sleep(_TICK)

    async def look(self) -> None:
        """Do what is due, a few accounts at a time."""
        room = asyncio.Semaphore(_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            for place, entry in self._numbers.accounts().items():
                if not self._turn.has(place[1]):
                    continue
                for kind, every, act in (
                    ("subscriptions", self._every.subscriptions, self._subscribed),
                    ("templates", self._every.templates, self._synced),
                ):
                    if self._due.get((kind, place), 0.0) <= self._clock.monotonic():
                        self._due[kind, place] = self._clock.monotonic() + every
                        tasks.create_task(self._one(room, kind, place, entry, act))

    async def sync_for(self, record: CallRecord, who: Credentials) -> CallAnswer:
        """Read the templates of a number's account, unless that was begun after the command.

        Raises TransientError when they could not be told.
        """
        entry = self._numbers.entry(record.tenant, record.number_id)
        if entry is None or not entry.waba_id:
            return Done({})
        place = (record.tenant, entry.waba_id)
        read_at = self._read_at.get(place)
        if read_at is not None and read_at > record.stored_at:
            return Done({})
        return await self._sync(place, record.number_id, who)

    async def _one(
        self,
        room: asyncio.Semaphore,
        kind: str,
        place: Place,
        entry: NumberEntry,
        act: Callable[[Place, NumberEntry, Credentials], Awaitable[str]],
    ) -> None:
        async with room:
            who = self._numbers.credentials(entry.tenant, entry.id)
            if who is None:
                return
            try:
                outcome = await act(place, entry, who)
            except TransientError as error:
                log.warning("account.not_told", kind=kind, error=str(error))
                outcome = "failed"
        self._metrics.account_checks.labels(kind, outcome).inc()
        if outcome == "failed":
            self._due[kind, place] = self._clock.monotonic() + _AGAIN

    # --- Templates ---

    async def _synced(self, place: Place, entry: NumberEntry, who: Credentials) -> str:
        answer = await self._sync(place, entry.id, who)
        return "done" if isinstance(answer, Done) else _failed("templates", entry, answer)

    async def _sync(self, place: Place, number_id: str, who: Credentials) -> CallAnswer:
        tenant, waba_id = place
        now = self._clock.now()
        at = now.replace(microsecond=now.microsecond // 1000 * 1000)
        found: list[dict[str, Any]] = []
        after: str | None = None
        for _ in range(_PAGES):
            answer = await self._graph.templates(who, waba_id, after)
            if not isinstance(answer, Done):
                return answer
            found += _dicts(answer.members.get("data"))
            after = _next(answer.members)
            if after is None:
                break
        (durable,) = await self._publisher.publish_runs(
            [synced_records(tenant, number_id, waba_id, found, at)]
        )
        if not durable:
            raise TransientError("templates_not_told")
        self._read_at[place] = at
        log.info("templates.synced", tenant=tenant, templates=len(found))
        return Done({})

    # --- The subscription ---

    async def _subscribed(self, place: Place, entry: NumberEntry, who: Credentials) -> str:
        """Subscribe again where it is missing: without it an account's webhooks do not come."""
        answer = await self._graph.subscriptions(who, place[1])
        if not isinstance(answer, Done):
            return _failed("subscriptions", entry, answer)
        apps = {
            str(app["id"])
            for each in _dicts(answer.members.get("data"))
            if isinstance(app := each.get("whatsapp_business_api_data"), dict) and "id" in app
        }
        # The platform's own app id is not known here: any subscription counts as its.
        if (entry.app_id in apps) if entry.app_id else apps:
            return "present"
        answer = await self._graph.subscribe(who, place[1])
        if not isinstance(answer, Done):
            return _failed("subscriptions", entry, answer)
        log.warning("subscription.restored", tenant=entry.tenant, number=entry.id)
        return "restored"


def synced_records(
    tenant: str,
    number_id: str,
    waba_id: str,
    templates: Sequence[dict[str, Any]],
    at: datetime,
) -> list[OutRecord]:
    """One reading as its records; an account without templates has one, empty.

    The key is the number that was asked with: the parts stay in order, and readings of one account
    by several numbers are told apart by their time.
    """
    parts: list[list[dict[str, Any]]] = [[]]
    size = 0
    for template in templates:
        weight = len(orjson.dumps(template))
        if parts[-1] and size + weight > _PART_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(template)
        size += weight
    stamp = int(at.timestamp() * 1000)
    kind = DeliveryEventType.TEMPLATES_SYNCED.value
    records = []
    for number, part in enumerate(parts, 1):
        envelope = Envelope(
            id=f"{tenant}:{waba_id}:{stamp}:{number}",
            type=kind,
            source=SOURCE,
            time=timestamp(at),
            tenant=tenant,
        )
        value = {
            "waba_id": waba_id,
            "at": timestamp(at),
            "part": number,
            "parts": len(parts),
            "templates": part,
        }
        records.append(
            OutRecord(
                topics.DELIVERY_EVENTS, number_id.encode(), orjson.dumps(value), envelope.headers()
            )
        )
    return records


def _failed(kind: str, entry: NumberEntry, answer: CallAnswer) -> str:
    cause: int | str = type(answer).__name__
    if isinstance(answer, GraphError):
        cause = answer.code
    log.error("account.check_failed", kind=kind, tenant=entry.tenant, number=entry.id, cause=cause)
    return "failed"


def _dicts(found: object) -> list[dict[str, Any]]:
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _next(members: Mapping[str, object]) -> str | None:
    paging = members.get("paging")
    if not isinstance(paging, dict) or not paging.get("next"):
        return None
    cursors = paging.get("cursors")
    after = cursors.get("after") if isinstance(cursors, dict) else None
    return after if isinstance(after, str) and after else None
