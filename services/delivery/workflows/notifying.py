"""Tells bots of their chats: in order within a chat, at least once, until one fails for good."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import assert_never

import structlog

from services.delivery.decisions.bots import body_of, headers, judge, webhook_id
from services.delivery.decisions.schedule import Schedule
from services.delivery.gateways.bots import BotHooks
from services.delivery.model import (
    BotDone,
    BotFailed,
    BotLater,
    BotVerdict,
    CallRecord,
    EventNote,
)
from services.delivery.storage import CallRecords
from services.delivery.workflows.clock import Clock
from services.delivery.workflows.numbers import Numbers
from services.delivery.workflows.running import Runs
from services.delivery.workflows.telling import RunPublisher, call_event, note_record
from shared.contracts.commands import NotifyBot
from shared.contracts.errors import TransientError
from shared.contracts.events import DeliveryEventType
from shared.observability.metrics import Metrics

log = structlog.get_logger()

_WAIT = 1.0
_OUTCOMES: dict[type[BotVerdict], str] = {
    BotDone: "told",
    BotLater: "later",
    BotFailed: "failed",
}
_Chat = tuple[str, str]


@dataclass(slots=True)
class _Lane:
    """What a chat's bot is still to be told; `busy`: an attempt is under way."""

    waiting: dict[str, tuple[CallRecord, EventNote | None]] = field(default_factory=dict)
    busy: bool = False

    def first(self) -> tuple[CallRecord, EventNote | None]:
        return min(self.waiting.values(), key=lambda each: (each[0].seq, each[0].id))


class Bots:
    """One attempt at a time in a chat; slow bots of one number do not hold up the others."""

    def __init__(
        self,
        *,
        records: CallRecords,
        schedule: Schedule,
        numbers: Numbers,
        hooks: BotHooks,
        publisher: RunPublisher,
        clock: Clock,
        owns: Callable[[int], bool],
        jitter: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._records = records
        self._schedule = schedule
        self._numbers = numbers
        self._hooks = hooks
        self._publisher = publisher
        self._clock = clock
        self._owns = owns
        self._jitter = jitter
        self._metrics = metrics
        self._lanes: dict[_Chat, _Lane] = {}
        self._runs = Runs(self._run_one)

    def offer(self, calls: Sequence[tuple[CallRecord, EventNote | None]]) -> None:
        """Take on open notices; known ones are ignored."""
        for record, event in sorted(calls, key=lambda each: each[0].seq):
            chat = (record.tenant, record.key)
            lane = self._lanes.get(chat)
            if lane is None:
                lane = self._lanes[chat] = _Lane()
                wait = self._clock.due(record.due_at) - self._clock.monotonic()
                self._runs.put(record.number_id, chat, wait)
            lane.waiting.setdefault(record.id, (record, event))

    def reset(self) -> None:
        """Forget everything, after `run` failed; the partitions are to be loaded anew."""
        self._lanes.clear()
        self._runs.clear()

    async def run(self) -> None:
        """The loop; each attempt is a task of its own."""
        await self._runs.run()

    async def _run_one(self, chat: _Chat) -> None:
        lane = self._lanes.get(chat)
        if lane is None or lane.busy:
            return  # a delay of before a reset
        lane.busy = True
        record, event = lane.first()
        wait = 0.0
        try:
            if self._owns(record.partition):
                wait = await self._step(lane, record, event)
            else:
                lane.waiting.clear()
        except TransientError as error:
            log.warning("bot.held", error=str(error))
            wait = _WAIT
        finally:
            lane.busy = False
        if self._lanes.get(chat) is not lane:
            return  # reset meanwhile
        if lane.waiting:
            self._runs.put(lane.first()[0].number_id, chat, wait)
        else:
            del self._lanes[chat]

    async def _step(self, lane: _Lane, record: CallRecord, event: EventNote | None) -> float:
        """One attempt at the first notice; seconds until the next one."""
        if event is None:
            # Read again: another pod may have done it.
            found = await self._records.read([record.id])
            if not found:
                del lane.waiting[record.id]
                return 0.0
            record, event = found[0]
        if event is None:
            verdict = await self._attempt(record)
            match verdict:
                case None:
                    return _WAIT
                case BotDone():
                    await self._end(lane, record)
                    return 0.0
                case BotLater(delay=delay):
                    due_at = self._clock.after(delay)
                    await self._records.later(record, record.retries + 1, due_at)
                    return delay.total_seconds()
                case BotFailed(reason=reason):
                    failed = failed_event(record, reason, self._clock.now())
                    event = await self._records.answered(record, failed)
                case _ as never:
                    assert_never(never)
        return await self._give_up(lane, record, event)

    async def _give_up(self, lane: _Lane, record: CallRecord, event: EventNote) -> float:
        (durable,) = await self._publisher.publish_runs([[note_record(event)]])
        if not durable:
            return _WAIT
        # The chat leaves the bot: what it was still to be told of this stretch is void.
        epoch = _command(record).epoch
        for other, _ in list(lane.waiting.values()):
            if other.id != record.id and _command(other).epoch == epoch:
                await self._end(lane, other)
        await self._end(lane, record)
        return 0.0

    async def _end(self, lane: _Lane, record: CallRecord) -> None:
        await self._records.done(record, self._clock.now())
        lane.waiting.pop(record.id, None)

    async def _attempt(self, record: CallRecord) -> BotDone | BotLater | BotFailed | None:
        """None: not now. Nothing leaves a suspended tenant, or a number not known yet."""
        if self._numbers.is_gone(record.tenant, record.number_id):
            return BotDone()
        if self._schedule.is_suspended(record.tenant):
            return None
        if self._numbers.credentials(record.tenant, record.number_id) is None:
            return None
        hook = self._numbers.bot(record.tenant, record.number_id)
        if hook is None:
            return BotFailed("no_bot")
        command = _command(record)
        body = body_of(command)
        now = self._clock.now()
        try:
            head = headers(hook.secrets(now), webhook_id(command), now, body)
        except ValueError:
            return BotFailed("bad_secret")
        asked = self._clock.monotonic()
        answer = await self._hooks.post(hook.url, body, head)
        self._metrics.bot_seconds.observe(self._clock.monotonic() - asked)
        verdict = judge(answer, retries=record.retries, jitter=self._jitter)
        self._metrics.bot_calls.labels(_OUTCOMES[type(verdict)]).inc()
        if not isinstance(verdict, BotDone):
            log.warning(
                "bot.failed" if isinstance(verdict, BotFailed) else "bot.postponed",
                tenant=record.tenant,
                number=record.number_id,
                reason=verdict.reason,
                retries=record.retries,
            )
        return verdict


def failed_event(record: CallRecord, reason: str, now: datetime) -> EventNote:
    """`bot.failed` of a notice."""
    command = _command(record)
    value = {
        "conversation_id": command.conversation_id,
        "number_id": command.number_id,
        "epoch": command.epoch,
        "version": command.version,
        "reason": reason,
    }
    return call_event(record, DeliveryEventType.BOT_FAILED, value, now)


def _command(record: CallRecord) -> NotifyBot:
    return NotifyBot.model_validate_json(record.payload)
