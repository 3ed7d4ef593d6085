"""Reads, blocks and downloads: repeated until done, of a contact's blocks the newest; no money."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_never

import structlog

from services.delivery.decisions.bodies import UnsendableError, block_body, read_body
from services.delivery.decisions.errors import judge
from services.delivery.decisions.schedule import Schedule
from services.delivery.gateways.graph import Credentials, Graph
from services.delivery.model import (
    Ambiguous,
    CallAnswer,
    CallKind,
    CallRecord,
    Done,
    Doubt,
    ErrorNote,
    EventNote,
    Fail,
    GraphError,
    HoldNumber,
    HoldPair,
    NotSent,
    Recipient,
    Retry,
    StopNumber,
)
from services.delivery.storage import CallRecords
from services.delivery.workflows.accounts import Accounts
from services.delivery.workflows.clock import Clock
from services.delivery.workflows.fetching import Fetcher
from services.delivery.workflows.numbers import Numbers
from services.delivery.workflows.running import Runs
from services.delivery.workflows.telling import RunPublisher, call_event, error_json, note_record
from services.delivery.workflows.wishing import Wishes
from shared.contracts.commands import BlockContact, FetchMedia, ReadMessage, ResumeNumber
from shared.contracts.errors import TransientError
from shared.contracts.events import DeliveryEventType

log = structlog.get_logger()

_WAIT = 1.0
_READ_AGE = timedelta(hours=1)
_DATED = frozenset({CallKind.READ, CallKind.TEMPLATES})
_TYPING_AGE = timedelta(seconds=20)
_FETCH_AGE = timedelta(days=6)
_GONE = ErrorNote("number_deleted", "number_deleted")


@dataclass(frozen=True, slots=True)
class Ended:
    """A call is over; with the event that tells it, if there is one."""

    event: EventNote | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """Later; `counts` as one of its retries."""

    delay: timedelta
    counts: bool = True


class Calls:
    """Runs the open calls of the owned partitions, a few at a time per number."""

    def __init__(
        self,
        *,
        records: CallRecords,
        schedule: Schedule,
        graph: Graph,
        numbers: Numbers,
        fetcher: Fetcher,
        accounts: Accounts,
        publisher: RunPublisher,
        clock: Clock,
        owns: Callable[[int], bool],
        jitter: Callable[[], float],
    ) -> None:
        self._records = records
        self._wishes = Wishes(records)
        self._schedule = schedule
        self._graph = graph
        self._numbers = numbers
        self._fetcher = fetcher
        self._accounts = accounts
        self._publisher = publisher
        self._clock = clock
        self._owns = owns
        self._jitter = jitter
        self._known: set[str] = set()
        self._runs = Runs(self._run_one)

    def offer(self, calls: Sequence[tuple[CallRecord, EventNote | None]]) -> None:
        """Take on open calls; known ones are ignored."""
        for record, event in calls:
            if record.id not in self._known:
                self._known.add(record.id)
                wait = self._clock.due(record.due_at) - self._clock.monotonic()
                self._runs.put(record.number_id, (record, event), wait)

    def reset(self) -> None:
        """Forget everything, after `run` failed; the partitions are to be loaded anew."""
        self._known.clear()
        self._runs.clear()

    async def run(self) -> None:
        """The loop; each call is a task of its own."""
        await self._runs.run()

    async def _run_one(self, call: tuple[CallRecord, EventNote | None]) -> None:
        record, event = call
        again: float | None = None
        if self._owns(record.partition):
            try:
                again = await self._step(record, event)
            except TransientError as error:
                log.warning("call.held", kind=record.kind.value, error=str(error))
                again = _WAIT
        self._known.discard(record.id)
        if again is not None:
            # Read again: its state may have moved, or another pod has done it.
            asyncio.get_running_loop().call_later(again, self._reread, record)

    def _reread(self, record: CallRecord) -> None:
        if self._owns(record.partition) and record.id not in self._known:
            self._known.add(record.id)
            self._runs.put(record.number_id, (record, None))

    async def _step(self, record: CallRecord, event: EventNote | None) -> float | None:
        found = await self._records.read([record.id]) if event is None else [(record, event)]
        if not found:
            return None
        record, event = found[0]
        if record.kind is CallKind.RESUME:
            await self._resume(record)
        elif event is None:
            record, outcome = await self._attempt(record)
            if outcome is None:
                return _WAIT
            if isinstance(outcome, Again):
                retries = record.retries + outcome.counts
                due_at = self._clock.after(outcome.delay)
                await self._records.later(record, retries, due_at)
                return outcome.delay.total_seconds()
            if outcome.event is not None:
                event = await self._records.answered(record, outcome.event)
        if event is not None:
            (durable,) = await self._publisher.publish_runs([[note_record(event)]])
            if not durable:
                return _WAIT
        await self._records.done(record, self._clock.now())
        return None

    async def _attempt(self, record: CallRecord) -> tuple[CallRecord, Ended | Again | None]:
        """The record, with the wish that was carried out; None: not now."""
        if self._is_stale(record):
            return record, Ended()
        if self._numbers.is_gone(record.tenant, record.number_id):
            return record, self._without_number(record)
        current = await self._wishes.current(record)
        if current is None:
            return record, Ended()
        who = self._numbers.credentials(record.tenant, record.number_id)
        if who is None or self._schedule.is_stopped(record.tenant, record.number_id):
            return current, None
        begun = await self._wishes.begin(current)
        if begun is None:
            return current, Ended()
        outcome = await self._carry_out(begun, who)
        if isinstance(outcome, Ended) and await self._wishes.is_outdated(begun):
            # At once and whoever owns the partition now: this request may have arrived last.
            return await self._attempt(begun)
        return begun, outcome

    def _is_stale(self, record: CallRecord) -> bool:
        age = self._clock.now() - record.stored_at
        return record.kind in _DATED and age > _READ_AGE

    async def _carry_out(self, record: CallRecord, who: Credentials) -> Ended | Again:
        match record.kind:
            case CallKind.READ:
                return await self._read(record, who)
            case CallKind.BLOCK:
                return await self._block(record, who)
            case CallKind.FETCH:
                return await self._fetch(record, who)
            case CallKind.TEMPLATES:
                answer = await self._accounts.sync_for(record, who)
                return self._again(record, who, answer) or Ended()
            case CallKind.BOT | CallKind.RESUME:
                raise ValueError("no call to Graph")
            case _ as never:
                assert_never(never)

    async def _resume(self, record: CallRecord) -> None:
        command = ResumeNumber.model_validate_json(record.payload)
        await self._numbers.resume(record.tenant, command.number_id, command.stopped_at)

    async def _read(self, record: CallRecord, who: Credentials) -> Ended | Again:
        command = ReadMessage.model_validate_json(record.payload)
        # The indicator lasts 25 s at most: later than that it would announce nobody.
        typing = command.typing and self._clock.now() - record.stored_at < _TYPING_AGE
        answer = await self._graph.mark_read(who, read_body(command.wamid, typing=typing))
        return self._again(record, who, answer) or Ended()

    async def _block(self, record: CallRecord, who: Credentials) -> Ended | Again:
        command = _block_command(record)
        to = command.recipient
        error: ErrorNote | None = None
        try:
            body = block_body(Recipient(to.wa_id, to.user_id, to.group_id))
        except UnsendableError as bad:
            error = ErrorNote(bad.reason, bad.reason)
        else:
            answer = await self._graph.block(who, body, blocked=command.blocked)
            again = self._again(record, who, answer)
            if again is not None:
                return again
            if isinstance(answer, GraphError):
                error = ErrorNote(answer.code, answer.title, answer.detail)
            elif not isinstance(answer, Done):
                error = ErrorNote("not_reached", answer.reason)
        return self._blocked(record, error)

    def _blocked(self, record: CallRecord, error: ErrorNote | None) -> Ended:
        command = _block_command(record)
        kind = DeliveryEventType.BLOCK_DONE if error is None else DeliveryEventType.BLOCK_FAILED
        value = {
            "contact_id": command.contact_id,
            "number_id": command.number_id,
            "blocked": command.blocked,
            "error": error_json(error),
        }
        return Ended(call_event(record, kind, value, self._clock.now()))

    async def _fetch(self, record: CallRecord, who: Credentials) -> Ended | Again:
        command = FetchMedia.model_validate_json(record.payload)
        result = await self._fetcher.fetch(record.tenant, command, who)
        if not isinstance(result, dict):
            again = self._again(record, who, result)
            if again is not None:
                return again
            result = {"error": _failure(result)}
        return self._fetched(record, result)

    def _fetched(self, record: CallRecord, result: dict[str, Any]) -> Ended:
        command = FetchMedia.model_validate_json(record.payload)
        failed = result.get("error") is not None
        kind = DeliveryEventType.MEDIA_FAILED if failed else DeliveryEventType.MEDIA_READY
        value = {
            "message_id": command.message_id,
            "conversation_id": command.conversation_id,
            "number_id": command.number_id,
            **result,
        }
        return Ended(call_event(record, kind, value, self._clock.now()))

    def _without_number(self, record: CallRecord) -> Ended:
        match record.kind:
            case CallKind.FETCH:
                return self._fetched(record, {"error": error_json(_GONE)})
            case CallKind.BLOCK:
                return self._blocked(record, _GONE)
            case CallKind.READ | CallKind.TEMPLATES | CallKind.RESUME | CallKind.BOT:
                return Ended()
            case _ as never:
                assert_never(never)

    def _again(self, record: CallRecord, who: Credentials, answer: CallAnswer) -> Again | None:
        """Whether to try once more; None: it is over, well or not."""
        if isinstance(answer, Done):
            return None
        if isinstance(answer, Ambiguous):
            answer = NotSent(answer.reason)  # a call may be repeated
        age = self._clock.now() - (record.stored_at if record.wish is None else record.wish.at)
        if record.kind is CallKind.FETCH and age < _FETCH_AGE:
            age = timedelta()  # an incoming file can be had for 7 days
        verdict = judge(answer, retries=record.retries, age=age, by_link=False, jitter=self._jitter)
        now = self._clock.monotonic()
        match verdict:
            case Retry(delay=delay) | HoldPair(delay=delay):
                return Again(delay)
            case HoldNumber(delay=delay, slow_down=slow_down):
                if slow_down:
                    self._schedule.slow_down(record.tenant, record.number_id, now)
                return Again(delay)
            case StopNumber():
                self._numbers.stop(record.tenant, record.number_id, who.version, verdict, answer)
                return Again(timedelta(seconds=_WAIT), counts=False)
            case Fail() | Doubt():
                return None
            case _ as never:
                assert_never(never)


def _block_command(record: CallRecord) -> BlockContact:
    """The command, with the wish that counts."""
    command = BlockContact.model_validate_json(record.payload)
    wish = record.wish
    return command if wish is None else command.model_copy(update={"blocked": wish.blocked})


def _failure(answer: CallAnswer) -> dict[str, Any] | None:
    if isinstance(answer, GraphError):
        return error_json(ErrorNote(answer.code, answer.title, answer.detail))
    if isinstance(answer, Done):
        return error_json(ErrorNote("no_answer", "no_answer"))
    return error_json(ErrorNote("not_reached", answer.reason))
