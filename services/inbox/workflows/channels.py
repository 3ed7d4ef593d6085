"""Takes what delivery tells of numbers and templates; the outcomes take what is of messages."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from services.inbox.model.channels import SendingState
from services.inbox.storage.channels import SendingStates
from services.inbox.workflows.outcomes import Outcomes
from services.inbox.workflows.templates import TemplateBook
from shared.contracts.envelope import Envelope, read_envelope
from shared.contracts.errors import PermanentError
from shared.contracts.events import DeliveryEventType, NumberOutcome, TemplatesSynced
from shared.contracts.records import InRecord

_NUMBERS = frozenset({DeliveryEventType.NUMBER_STOPPED, DeliveryEventType.NUMBER_RESUMED})


class Channels:
    """The handler of delivery.events.v1."""

    def __init__(self, states: SendingStates, templates: TemplateBook, outcomes: Outcomes) -> None:
        self._states = states
        self._templates = templates
        self._outcomes = outcomes

    async def on_delivery_events(self, records: Sequence[InRecord]) -> None:
        """They never share a key with messages, so no order is lost."""
        rest = []
        for record in records:
            envelope = read_envelope(record.headers)
            value = record.value or b""
            try:
                if envelope.type in _NUMBERS:
                    await self._on_number(envelope, value)
                elif envelope.type == DeliveryEventType.TEMPLATES_SYNCED:
                    told = TemplatesSynced.model_validate_json(value)
                    await self._templates.on_synced(envelope.tenant, told)
                else:
                    rest.append(record)
            except ValidationError as bad:
                raise PermanentError("bad_payload") from bad
        if rest:
            await self._outcomes.on_delivery_events(rest)

    async def _on_number(self, envelope: Envelope, value: bytes) -> None:
        told = NumberOutcome.model_validate_json(value)
        state = SendingState()
        if envelope.type == DeliveryEventType.NUMBER_STOPPED:
            state = SendingState(
                state="stopped" if told.until is None else "limited",
                cause=told.reason or "unknown",
                since=told.at,
                until=told.until,
                error=None if told.error is None else told.error.model_dump(),
            )
        await self._states.put(envelope.tenant, told.number_id, state, told.at)
