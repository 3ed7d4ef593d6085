"""Kafka's edge: records to what routing knows of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import orjson

from services.routing.gateways import is_held
from services.routing.model import Availability, Change, Presence
from services.routing.workflows.project import Projector
from shared.contracts.envelope import Envelope, parse_timestamp, read_envelope
from shared.contracts.errors import PermanentError
from shared.contracts.events import EventType
from shared.contracts.records import InRecord
from shared.contracts.topics import AGENT_EVENTS, CONVERSATION_EVENTS
from shared.contracts.views import Status
from shared.kafka.failure import Rejected, rejected_by
from shared.kafka.subscribe import ConsumerRuntime, create_broker, subscribe
from shared.observability.metrics import Metrics

GROUP = "routing"
# Nobody notices a chat that is assigned a tenth of a second later.
_GATHER = timedelta(milliseconds=100)
_KNOWN = frozenset(EventType)


class Handlers:
    """The subscribers' functions; they may be called again with the same records."""

    def __init__(self, projector: Projector, metrics: Metrics) -> None:
        self._projector = projector
        self._metrics = metrics

    async def on_conversation_events(self, records: Sequence[InRecord]) -> Sequence[Rejected]:
        rejected: list[Rejected] = []
        changes = [
            change for record in records if (change := self._change(record, rejected)) is not None
        ]
        if changes:
            await self._projector.follow_conversations(changes)
        return rejected

    async def on_agent_events(self, records: Sequence[InRecord]) -> Sequence[Rejected]:
        rejected: list[Rejected] = []
        events = [
            event for record in records if (event := self._agent(record, rejected)) is not None
        ]
        if events:
            await self._projector.follow_agents(events)
        return rejected

    def _change(self, record: InRecord, rejected: list[Rejected]) -> Change | None:
        try:
            envelope = read_envelope(record.headers)
            if envelope.type not in _KNOWN:
                self._metrics.unknown_types.labels(CONVERSATION_EVENTS.base).inc()
                return None
            return to_change(envelope, record.value)
        except PermanentError as bad:
            rejected.append(rejected_by(record, bad))
            return None

    def _agent(self, record: InRecord, rejected: list[Rejected]) -> Presence | Availability | None:
        try:
            envelope = read_envelope(record.headers)
            event = to_agent_event(envelope, record.value)
        except PermanentError as bad:
            rejected.append(rejected_by(record, bad))
            return None
        if event is None:
            self._metrics.unknown_types.labels(AGENT_EVENTS.base).inc()
        return event


def to_change(envelope: Envelope, value: bytes | None) -> Change:
    """The conversation's state after an event. Raises PermanentError when it is not readable."""
    if value is None or envelope.type == EventType.CONVERSATION_DELETED:
        return _deleted(envelope)
    try:
        data: dict[str, Any] = orjson.loads(value)
        now, before = data["conversation"], data["before"]
        since = now["waiting_since"]
        return Change(
            tenant=envelope.tenant,
            id=now["id"],
            version=int(now["version"]),
            status=Status(now["status"]),
            episode=int(now["episode"]),
            epoch=int(now["epoch"]),
            assignee=now["assignee"]["id"] if now["assignee"] else None,
            team=now["team"]["id"] if now["team"] else None,
            waiting_since=None if since is None else parse_timestamp(since),
            held=is_held(now),
            previous=before["assignee"],
        )
    except (ValueError, KeyError, TypeError) as bad:
        raise PermanentError("bad_payload", type(bad).__name__) from bad


def _deleted(envelope: Envelope) -> Change:
    if envelope.subject is None or envelope.sequence is None:
        raise PermanentError("bad_envelope", "a deletion names its conversation and version")
    return Change(
        tenant=envelope.tenant,
        id=envelope.subject,
        version=envelope.sequence,
        status=Status.CLOSED,
        episode=0,
        epoch=0,
        assignee=None,
        team=None,
        waiting_since=None,
    )


def to_agent_event(envelope: Envelope, value: bytes | None) -> Presence | Availability | None:
    """None: of no interest. Raises PermanentError when it is not readable."""
    try:
        match envelope.type:
            case EventType.AGENT_PRESENCE:
                data = _json(value)
                return Presence(
                    envelope.tenant,
                    data["agent_id"],
                    _sequence(envelope),
                    bool(data["present"]),
                    parse_timestamp(data["at"]),
                )
            case EventType.AGENT_AVAILABILITY:
                data = _json(value)
                return Availability(
                    envelope.tenant,
                    data["agent_id"],
                    _sequence(envelope),
                    bool(data["available"]),
                )
            case _:
                return None
    except (ValueError, KeyError, TypeError) as bad:
        raise PermanentError("bad_payload", type(bad).__name__) from bad


def _json(value: bytes | None) -> dict[str, Any]:
    if value is None:
        raise ValueError("no value")
    data: dict[str, Any] = orjson.loads(value)
    return data


def _sequence(envelope: Envelope) -> int:
    if envelope.sequence is None:
        raise ValueError("no sequence")
    return envelope.sequence


def register(handlers: Handlers, runtime: ConsumerRuntime) -> Any:
    """Subscribe to the topics; the broker that carries the subscriptions."""
    broker = create_broker(runtime.settings, client_id="routing")
    prefix = runtime.settings.topic_prefix
    for topic, handler in (
        (CONVERSATION_EVENTS, handlers.on_conversation_events),
        (AGENT_EVENTS, handlers.on_agent_events),
    ):
        subscribe(
            broker,
            topic,
            group=f"{prefix}{GROUP}.{topic.base}",
            handler=handler,
            runtime=runtime,
            gather=_GATHER,
        )
    return broker
