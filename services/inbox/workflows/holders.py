"""Agents whose last socket is gone lose the chats that they have not answered."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog
from pydantic import ValidationError

from services.inbox.decisions.draft import Draft
from services.inbox.decisions.lifecycle import Move, Trigger, is_lost
from services.inbox.model.events import SYSTEM
from services.inbox.storage.conversations import ConversationStore
from services.inbox.storage.presence import Gone, PresenceStore
from services.inbox.workflows.changing import Changing, conversation_at
from shared.contracts.envelope import read_envelope
from shared.contracts.errors import PermanentError, TransientError
from shared.contracts.events import AgentPresence, EventType
from shared.contracts.records import InRecord
from shared.contracts.views import Status
from shared.mongo.headlog import Head, Step

log = structlog.get_logger()
_EVERY = timedelta(seconds=1)
_PER_ROUND = 200
CHANGES_COUNT_WITHIN = timedelta(minutes=5)
"""Whose grace is longer is looked at so often: it may be shorter by now."""
LOOK_AGAIN = timedelta(seconds=30)
"""Routing may have given a chat within the grace, and its decision may come late: a reservation
lasts so long."""


class Holders:
    """Follows `agent.presence`. Any number of pods may run it: every step is idempotent."""

    def __init__(
        self,
        changing: Changing,
        store: ConversationStore,
        presence: PresenceStore,
        *,
        grace: Callable[[str], timedelta],
    ) -> None:
        self.presence = presence
        self._changing = changing
        self._store = store
        self._grace = grace

    async def on_agent_events(self, records: Sequence[InRecord]) -> None:
        """Keeps who has no socket. Raises TransientError."""
        now = self._changing.clock()
        for record in records:
            envelope = read_envelope(record.headers)
            if envelope.type != EventType.AGENT_PRESENCE or envelope.sequence is None:
                continue
            try:
                told = AgentPresence.model_validate_json(record.value or b"")
            except ValidationError as bad:
                raise PermanentError("bad_payload") from bad
            gone = Gone(envelope.tenant, told.agent_id, told.at)
            due_at = None if told.present else self._look_at(gone, now)
            await self.presence.take(gone, envelope.sequence, due_at=due_at, now=now)

    async def run(self) -> None:
        """Looks once a second, until cancelled."""
        while True:
            more = False
            try:
                more = await self.settle_due() == _PER_ROUND
            except TransientError as error:
                log.warning("holders.postponed", error=str(error))
            if not more:
                await asyncio.sleep(_EVERY.total_seconds() * random.uniform(0.8, 1.0))  # noqa: S311 - not a secret

    async def settle_due(self) -> int:
        """One round: whose grace is over, and whose chats are to be looked at again.

        Returns how many agents were looked at. Raises TransientError.
        """
        waiting = await self.presence.due(self._changing.clock(), _PER_ROUND)
        for gone in waiting:
            now = self._changing.clock()
            if gone.settled_at is not None:
                await self._release(gone)
                await self.presence.settled(gone)
            elif (look_at := self._look_at(gone, now)) > now:
                await self.presence.put_off(gone, look_at)
            else:
                await self._release(gone)
                await self.presence.settled_first(gone, now, now + LOOK_AGAIN)
        return len(waiting)

    def _look_at(self, gone: Gone, now: datetime) -> datetime:
        """When the grace is over, or may be by a policy that was changed meanwhile."""
        return min(gone.since + self._grace(gone.tenant), now + CHANGES_COUNT_WITHIN)

    async def _release(self, gone: Gone) -> None:
        held = await self._store.ids_of(gone.tenant, {"assignee": gone.agent}, [Status.OPEN])

        async def decide(head: Head | None) -> Step[None]:
            conversation = conversation_at(head)
            if conversation is None or not is_lost(conversation, gone.agent):
                return Step(None)
            draft = Draft(conversation, self._changing.clock())
            gone_team = await self._changing.gone_team(conversation)
            move = Move(Trigger.HOLDER_LOST, draft.now, gone_team=gone_team)
            draft.move(move, actor=SYSTEM, reason=move.trigger.value)
            return self._changing.step(head, draft, None)

        for conversation_id in held:
            await self._changing.log.change(conversation_id, decide)
