"""Settles what became due in conversations. Any number of pods may run it."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

import structlog

from services.inbox.decisions.doubts import questions
from services.inbox.decisions.draft import Draft
from services.inbox.decisions.fold import MessageIndex
from services.inbox.decisions.timers import next_due, settle
from services.inbox.model.conversation import Conversation
from services.inbox.storage.conversations import ConversationStore
from services.inbox.storage.messages import MessageStore, overlay
from services.inbox.workflows.changing import Changing, conversation_at
from shared.contracts.errors import TransientError
from shared.mongo.headlog import Head, Step

log = structlog.get_logger()
_EVERY = timedelta(seconds=1)
_AT_ONCE = 16
_PER_ROUND = 256


class Timers:
    """Each conversation is one compare-and-set: who loses it finds nothing due any more."""

    def __init__(
        self, changing: Changing, store: ConversationStore, messages: MessageStore
    ) -> None:
        self._changing = changing
        self._store = store
        self._messages = messages

    async def run(self) -> None:
        """Looks once a second, until cancelled."""
        while True:
            more = False
            try:
                more = await self.settle_due() == _PER_ROUND
            except TransientError as error:
                log.warning("timers.postponed", error=str(error))
            if not more:
                # By chance, so that pods do not meet at the same conversations each time.
                await asyncio.sleep(_EVERY.total_seconds() * random.uniform(0.8, 1.0))  # noqa: S311 - not a secret

    async def settle_due(self) -> int:
        """One round; how many conversations were looked at. Raises TransientError at its end."""
        waiting = await self._store.due(self._changing.clock(), _PER_ROUND)
        failed: list[TransientError] = []
        for start in range(0, len(waiting), _AT_ONCE):
            outcomes = await asyncio.gather(
                *map(self.settle, waiting[start : start + _AT_ONCE]), return_exceptions=True
            )
            for outcome in outcomes:
                if isinstance(outcome, TransientError):
                    failed.append(outcome)
                elif outcome is not None:
                    raise outcome
        if failed:
            raise failed[0]
        return len(waiting)

    async def settle(self, conversation_id: str) -> None:
        """Settles one conversation; where nothing is due, says when to look again."""
        changing = self._changing

        async def decide(head: Head | None) -> Step[Conversation | None]:
            conversation = conversation_at(head)
            if head is None or conversation is None:
                return Step(None)
            draft = Draft(conversation, changing.clock())
            asked = questions(conversation, draft.now)
            # After the load of the head, whose outbox lies over what is found.
            index = MessageIndex(await self._messages.look_up(asked, ()) if asked else ())
            overlay(index, head.unpublished)
            gone_team = await changing.gone_team(conversation)
            settle(draft, changing.terms(conversation), index, gone_team=gone_team)
            return changing.step(head, draft, None if draft.events else draft.conversation)

        idle = await changing.log.change(conversation_id, decide)
        if idle is not None:
            due = next_due(idle, changing.terms(idle), changing.clock())
            await self._store.put_off(idle, due)
