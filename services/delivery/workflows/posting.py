"""One attempt: from the claim to the outcome that is to be written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import orjson
import structlog

from services.delivery.decisions.bodies import UnsendableError, message_body
from services.delivery.decisions.errors import judge
from services.delivery.decisions.schedule import Schedule
from services.delivery.gateways.graph import Graph
from services.delivery.model import (
    Accepted,
    Ambiguous,
    Claim,
    Doubt,
    ErrorNote,
    Fail,
    FaultPoint,
    GraphError,
    HoldNumber,
    HoldPair,
    NotSent,
    Retry,
    SendRecord,
    Settlement,
    StopNumber,
    Trigger,
    Verdict,
)
from services.delivery.workflows.clock import Clock
from services.delivery.workflows.numbers import Numbers
from services.delivery.workflows.uploading import Uploader, UploadRefusedError
from shared.contracts.errors import TransientError
from shared.faults import FaultPoints
from shared.observability.metrics import Metrics

log = structlog.get_logger()

_UPLOAD_AGAIN = timedelta(seconds=1)


class Poster:
    """Makes the requests of a send: the upload before the claim, the POST after it."""

    def __init__(
        self,
        *,
        graph: Graph,
        numbers: Numbers,
        uploader: Uploader,
        schedule: Schedule,
        clock: Clock,
        faults: FaultPoints,
        metrics: Metrics,
        jitter: Callable[[], float],
    ) -> None:
        self._graph = graph
        self._numbers = numbers
        self._uploader = uploader
        self._schedule = schedule
        self._clock = clock
        self._faults = faults
        self._metrics = metrics
        self._jitter = jitter
        self._media_ids: dict[str, str] = {}
        self._refused: dict[str, ErrorNote] = {}

    async def prepare(self, record: SendRecord) -> SendRecord | None:
        """Have the record's file uploaded; the record to try again later, or None: it may go.

        Before the claim, because the claim's deadline is for the POST alone.
        """
        who = self._numbers.credentials(record.tenant, record.number_id)
        if who is None:
            return None
        try:
            self._media_ids[record.id] = await self._uploader.media_id(who, record)
        except UploadRefusedError as refused:
            answer = refused.answer
            if isinstance(answer, Ambiguous):
                answer = NotSent(answer.reason)  # an upload may be repeated
            verdict = self._verdict(record, answer)
            self._hold(record, verdict)
            match verdict:
                case Fail() | Doubt():
                    self._refused[record.id] = _note(verdict.reason, answer)
                    return None
                case StopNumber():
                    self._numbers.stop(
                        record.tenant, record.number_id, who.version, verdict, answer
                    )
                    return replace(record, due_at=None)
                case Retry(delay=delay) | HoldPair(delay=delay) | HoldNumber(delay=delay):
                    due_at = self._clock.after(delay)
                    return replace(record, retries=record.retries + 1, due_at=due_at)
        except TransientError as error:
            log.warning("upload.held", error=str(error))
            return replace(record, due_at=self._clock.after(_UPLOAD_AGAIN))
        return None

    async def post(self, record: SendRecord, claim: Claim, deadline: float) -> Settlement:
        """POST once if the claim is young enough; the outcome of this claim."""
        now = self._clock.now
        refused = self._refused.pop(record.id, None)
        media_id = self._media_ids.pop(record.id, None)
        if refused is None and self._numbers.is_gone(record.tenant, record.number_id):
            refused = ErrorNote("number_deleted", "number_deleted")
        try:
            body = message_body(record, orjson.loads(record.body), media_id)
        except UnsendableError as bad:
            body, refused = {}, refused or ErrorNote(bad.reason, bad.reason)
        if refused is not None:
            return Settlement(claim, Trigger.REFUSE, now(), error=refused)
        await self._faults.reach(FaultPoint.POST_BEFORE)
        who = self._numbers.credentials(record.tenant, record.number_id)
        stopped = self._schedule.is_stopped(record.tenant, record.number_id)
        asked = self._clock.monotonic()
        # Between this check and the request there is no await.
        if who is None or stopped or asked > deadline:
            return released(record, claim, now())
        answer = await self._graph.send(who, body)
        await self._faults.reach(FaultPoint.POST_AFTER)
        self._metrics.send_seconds.observe(self._clock.monotonic() - asked)
        if isinstance(answer, Accepted):
            waited = (now() - record.stored_at).total_seconds()
            self._metrics.send_wait.observe(max(0.0, waited))
            return Settlement(
                claim,
                Trigger.ACCEPT,
                now(),
                wamid=answer.wamid,
                wa_id=answer.wa_id,
                user_id=answer.user_id,
            )
        verdict = self._verdict(record, answer)
        self._hold(record, verdict)
        error = _note(verdict.reason, answer)
        match verdict:
            case Doubt():
                log.warning("send.doubted", number=record.number_id, reason=verdict.reason)
                return Settlement(claim, Trigger.DOUBT, now(), error=error)
            case Fail():
                return Settlement(claim, Trigger.REFUSE, now(), error=error)
            case StopNumber():
                self._numbers.stop(record.tenant, record.number_id, who.version, verdict, answer)
                return Settlement(claim, Trigger.LATER, now(), retries=record.retries)
            case Retry(delay=delay) | HoldPair(delay=delay) | HoldNumber(delay=delay):
                due_at = self._clock.after(delay)
                retries = record.retries + 1
                return Settlement(claim, Trigger.LATER, now(), retries=retries, due_at=due_at)

    def _verdict(self, record: SendRecord, answer: GraphError | NotSent | Ambiguous) -> Verdict:
        return judge(
            answer,
            retries=record.retries,
            age=self._clock.now() - record.queued_at,
            by_link=b'"link"' in record.body,
            jitter=self._jitter,
        )

    def _hold(self, record: SendRecord, verdict: Verdict) -> None:
        now = self._clock.monotonic()
        match verdict:
            case HoldPair():
                self._schedule.hold_pair(record, now)
                self._metrics.throttled.labels("pair").inc()
            case HoldNumber(slow_down=True):
                self._schedule.slow_down(record.tenant, record.number_id, now)
                self._metrics.throttled.labels("number").inc()
            case HoldNumber(delay=delay):
                until = now + delay.total_seconds()
                self._schedule.hold_number(record.tenant, record.number_id, until, now)
                self._metrics.throttled.labels("number").inc()
            case Retry(alarm=True):
                log.error("sends.limited", reason=verdict.reason, number=record.number_id)
            case Retry() | StopNumber() | Fail() | Doubt():
                pass


def released(record: SendRecord, claim: Claim, at: datetime) -> Settlement:
    """The outcome of a claim whose POST was not made: free again at once."""
    return Settlement(claim, Trigger.RELEASE, at, retries=record.retries)


def _note(reason: str, answer: GraphError | NotSent | Ambiguous) -> ErrorNote:
    if isinstance(answer, GraphError):
        return ErrorNote(answer.code, answer.title, answer.detail)
    return ErrorNote(reason, answer.reason)
