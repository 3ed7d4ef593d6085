"""Shows the customer that somebody is writing."""

from __future__ import annotations

import orjson

from services.inbox.decisions.admission import NOT_FOUND, judge_send
from services.inbox.storage.entries import SOURCE
from services.inbox.workflows.actions import ticks
from services.inbox.workflows.changing import Call, Changing, conversation_at
from shared.contracts.envelope import Envelope, timestamp
from shared.contracts.records import OutRecord
from shared.contracts.topics import OUTBOUND
from shared.ids import new_id
from shared.kafka.publisher import Publisher


class TypingIndicator:
    """Nothing is kept of it: WhatsApp shows it for 25 s, or until the answer comes."""

    def __init__(self, changing: Changing, publisher: Publisher) -> None:
        self._changing = changing
        self._publisher = publisher

    async def show(self, call: Call) -> None:
        """Asks delivery. Refuses as a send would; a group, or who never wrote, is shown nothing."""
        changing = self._changing
        head = (await changing.log.load([call.conversation_id])).get(call.conversation_id)
        conversation, now = conversation_at(head), changing.clock()
        refusal = judge_send(
            conversation, call.viewer, epoch=call.epoch, needs_window=True, now=now
        )
        if refusal is not None or conversation is None:
            raise changing.refused(refusal or NOT_FOUND, call.viewer.tenant)
        await self._publisher.publish(
            [
                OutRecord(
                    OUTBOUND,
                    conversation.id.encode(),
                    orjson.dumps(command.payload),
                    Envelope(
                        id=new_id(),
                        type=command.type.value,
                        source=SOURCE,
                        time=timestamp(now),
                        tenant=conversation.tenant,
                        subject=conversation.id,
                    ).headers(),
                )
                for command in ticks(conversation, typing=True)
            ]
        )
