"""Applies what delivery and routing say to conversations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from pydantic import ValidationError

from services.inbox.model.conversation import SendFailure
from services.inbox.model.items import (
    Assignment,
    BotFailure,
    Fact,
    Item,
    MediaFact,
    OutcomeFact,
    OutOfHours,
)
from services.inbox.workflows.writer import ConversationWriter, Work
from shared.contracts.envelope import Envelope, read_envelope
from shared.contracts.errors import PermanentError
from shared.contracts.events import (
    OUT_OF_HOURS,
    BotOutcome,
    DecisionType,
    DeliveryEventType,
    MediaOutcome,
    RoutingDecision,
    SendOutcome,
)
from shared.contracts.records import InRecord
from shared.contracts.views import MessageStatus
from shared.ids import IdHasher
from shared.mongo.headlog import HeadLog

_SENDS = {
    DeliveryEventType.SEND_ACCEPTED: MessageStatus.ACCEPTED,
    DeliveryEventType.SEND_FAILED: MessageStatus.FAILED,
    DeliveryEventType.SEND_UNKNOWN: MessageStatus.UNKNOWN,
}
_MEDIA = frozenset({DeliveryEventType.MEDIA_READY, DeliveryEventType.MEDIA_FAILED})


class Outcomes:
    """Handlers of delivery.events.v1 and routing.decisions.v1."""

    def __init__(
        self,
        conversations: HeadLog,
        writer: ConversationWriter,
        ids: IdHasher,
        count: Callable[[Counter[str]], None],
    ) -> None:
        self._conversations = conversations
        self._writer = writer
        self._ids = ids
        self._count = count

    async def on_delivery_events(self, records: Sequence[InRecord]) -> None:
        """Joins outcomes to their messages. Types that are not known are skipped and counted."""
        await self._handle(records, self._delivery)

    async def on_decisions(self, records: Sequence[InRecord]) -> None:
        """Applies assignments by the rule; who waits out of hours is told so once an episode."""
        await self._handle(records, self._decision)

    async def _handle(
        self,
        records: Sequence[InRecord],
        read: Callable[[Envelope, bytes], tuple[str, Item] | None],
    ) -> None:
        works: dict[str, Work] = {}
        for record in records:
            envelope = read_envelope(record.headers)
            try:
                found = read(envelope, record.value or b"")
            except ValidationError as bad:
                raise PermanentError("bad_payload") from bad
            if found is None:
                self._count(Counter(skipped=1))
                continue
            conversation, item = found
            works.setdefault(conversation, Work(conversation, envelope.tenant)).items.append(item)
        applied = await self._writer.apply(list(works.values()))
        await self._conversations.publish(applied.publications)
        self._count(Counter(fate.value for _, fate in applied.fates))

    def _delivery(self, envelope: Envelope, value: bytes) -> tuple[str, Item] | None:
        if envelope.type in _SENDS:
            said = SendOutcome.model_validate_json(value)
            wamid = said.wamid
            return said.conversation_id, Fact(
                key=envelope.id,
                refs=(said.message_id,),
                fact=OutcomeFact(
                    outcome=_SENDS[DeliveryEventType(envelope.type)],
                    attempt=said.attempt,
                    at=said.at,
                    wamid=wamid,
                    wamid_key=self._ids.inbound_message(envelope.tenant, said.number_id, wamid)
                    if wamid
                    else None,
                    error=None
                    if said.error is None
                    else SendFailure(said.error.code, said.error.title, said.error.detail),
                ),
            )
        if envelope.type in _MEDIA:
            media = MediaOutcome.model_validate_json(value)
            return media.conversation_id, Fact(
                key=envelope.id,
                refs=(media.message_id,),
                fact=MediaFact(
                    media_id=media.media_id,
                    at=media.at,
                    mime_type=media.mime_type,
                    size=media.size,
                    sha256=media.sha256,
                    width=media.width,
                    height=media.height,
                    duration_ms=media.duration_ms,
                ),
            )
        if envelope.type == DeliveryEventType.BOT_FAILED:
            failed = BotOutcome.model_validate_json(value)
            return failed.conversation_id, BotFailure(failed.epoch, failed.reason)
        return None

    def _decision(self, envelope: Envelope, value: bytes) -> tuple[str, Item] | None:
        if envelope.type not in (DecisionType.ASSIGN, DecisionType.PARK):
            return None
        decision = RoutingDecision.model_validate_json(value)
        conversation = decision.conversation_id
        if envelope.type == DecisionType.ASSIGN:
            return conversation, Assignment(decision)
        if decision.reason != OUT_OF_HOURS:
            return None
        once = f"out_of_hours:{decision.episode}"
        message_id = self._ids.outgoing_message(envelope.tenant, conversation, once)
        return conversation, OutOfHours(decision.episode, decision.epoch, message_id)
