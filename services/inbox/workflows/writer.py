"""Applies items to conversations: the write path of every consumer.

Load, look up, fold, compare-and-set, publish: rules 1 to 8 of the design's section 4. The order
of the steps is not style; each has a failing trace in `models/inbox_model.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from services.inbox.decisions.doubts import UNKNOWN_GRACE
from services.inbox.decisions.draft import blank
from services.inbox.decisions.fold import Fate, Folded, MessageIndex, Surroundings, fold
from services.inbox.decisions.timers import terms_of, with_due
from services.inbox.decisions.views import Names
from services.inbox.model.conversation import ContactSnapshot
from services.inbox.model.items import (
    Assignment,
    BotFailure,
    Called,
    Fact,
    Incoming,
    Item,
    OutOfHours,
)
from services.inbox.storage.documents import conversation_document, conversation_of
from services.inbox.storage.entries import render
from services.inbox.storage.messages import MessageStore, overlay
from shared.faults import FaultPoints, NoFaults
from shared.ids import IdHasher
from shared.mongo.headlog import (
    ROUNDS,
    Change,
    ContentionError,
    Head,
    HeadLog,
    Publication,
    published,
)

FreeSlots = Callable[[Sequence[tuple[str, str]]], Awaitable[dict[str, int]]]
"""Open chats that routing may still give: (tenant, agent) pairs -> room by agent."""
GoneTeams = Callable[[Collection[tuple[str, str]]], Awaitable[frozenset[str]]]
"""Teams that are not there any more, of (tenant, team) pairs."""


@dataclass(slots=True)
class Work:
    """The items of one conversation, in order.

    `party` makes the id: `contact:<id>` or `group:<id>`. Facts name an existing conversation and
    need neither.
    """

    conversation_id: str
    tenant: str
    number_id: str | None = None
    party: str | None = None
    contact: ContactSnapshot | None = None
    group_id: str | None = None
    generation: int = 1
    items: list[Item] = field(default_factory=list)


@dataclass(slots=True)
class Applied:
    """What became of the items, and what is to be published."""

    fates: list[tuple[Item, Fate]]
    publications: list[Publication]

    def counts(self) -> Counter[Fate]:
        return Counter(fate for _, fate in self.fates)


class ConversationWriter:
    """One per process and conversation log."""

    def __init__(
        self,
        log: HeadLog,
        messages: MessageStore,
        names: Names,
        ids: IdHasher,
        clock: Callable[[], datetime],
        *,
        free_slots: FreeSlots | None = None,
        gone_teams: GoneTeams | None = None,
        faults: FaultPoints | None = None,
        unknown_grace: timedelta = UNKNOWN_GRACE,
    ) -> None:
        self._log = log
        self._messages = messages
        self._names = names
        self._ids = ids
        self._clock = clock
        self._free_slots = free_slots
        self._gone_teams = gone_teams
        self._faults = faults or NoFaults()
        self._unknown_grace = unknown_grace

    async def apply(self, works: Sequence[Work]) -> Applied:
        """Folds and commits until every conversation is certain; publishes nothing yet.

        Raises TransientError; a repeat finds what was done as duplicates and carries what is
        unpublished.
        """
        waiting = {work.conversation_id: work for work in works if work.items}
        publications: dict[str, Publication] = {}
        fates: list[tuple[Item, Fate]] = []
        losses = 0
        while waiting:
            async with self._log.causal_reads():
                heads = await self._load(waiting)
                await self._faults.reach("loaded")
                # After the load, never beside it: what is stored by now and no longer in an
                # outbox that was loaded is found here.
                index = await self._look_up(waiting.values(), heads)
            room = await self._room(waiting.values())
            gone = await self._gone(waiting.values(), heads)
            changes: list[Change] = []
            outcomes: dict[str, tuple[list[tuple[Item, Fate]], list[Item]]] = {}
            for work in waiting.values():
                head = heads.get(work.conversation_id)
                folded = self._fold(work, head, index, room, gone)
                if folded is None:
                    outcomes[work.conversation_id] = (
                        [(item, Fate.UNRESOLVED) for item in work.items],
                        [],
                    )
                    continue
                outcomes[work.conversation_id] = (folded.fates, folded.left)
                if folded.events:
                    changes.append(
                        Change(
                            id=work.conversation_id,
                            expected=head.version if head else 0,
                            state=conversation_document(folded.conversation),
                            entries=tuple(render(e, self._names) for e in folded.events),
                            carried=head.unpublished if head else (),
                        )
                    )
                elif head is not None and head.unpublished:
                    publications[head.id] = Publication(head.id, head.version, head.unpublished)
            await self._faults.reach("looked_up")
            won = await self._log.commit(changes)
            lost = {change.id for change in changes} - won
            for change in changes:
                if change.id in won:
                    publications[change.id] = published(change)
            losses = losses + 1 if lost else 0
            if losses > ROUNDS:
                raise ContentionError("conversations")
            waiting = self._next(waiting, outcomes, lost, fates)
        return Applied(fates, list(publications.values()))

    @staticmethod
    def _next(
        waiting: Mapping[str, Work],
        outcomes: Mapping[str, tuple[list[tuple[Item, Fate]], list[Item]]],
        lost: set[str],
        fates: list[tuple[Item, Fate]],
    ) -> dict[str, Work]:
        """What is still to do: conversations that lost, wholly, and what did not fit."""
        again: dict[str, Work] = {}
        for conversation_id, work in waiting.items():
            done, left = outcomes[conversation_id]
            if conversation_id in lost:
                again[conversation_id] = work
                continue
            fates.extend(done)
            if left:
                work.items = left
                again[conversation_id] = work
        return again

    async def _load(self, waiting: dict[str, Work]) -> dict[str, Head]:
        """Loads the heads; where one is a tombstone, its party's next generation instead."""
        heads = await self._log.load(waiting)
        while True:
            gone = [
                head
                for head in heads.values()
                if head.state["deleted"] and self._renew(waiting, head)
            ]
            if not gone:
                return heads
            fresh = [w for w in waiting if w not in heads]
            heads = {k: v for k, v in heads.items() if k in waiting}
            heads.update(await self._log.load(fresh))

    def _renew(self, waiting: dict[str, Work], head: Head) -> bool:
        work = waiting[head.id]
        if work.party is None or work.number_id is None:
            return False
        del waiting[head.id]
        work.generation = head.state["generation"] + 1
        work.conversation_id = self._ids.conversation(
            work.tenant, work.number_id, work.party, work.generation
        )
        waiting[work.conversation_id] = work
        return True

    async def _look_up(self, works: Iterable[Work], heads: Mapping[str, Head]) -> MessageIndex:
        ids: set[str] = set()
        refs: set[str] = set()
        for work in works:
            for item in work.items:
                match item:
                    case Incoming():
                        (refs if item.origin == "phone" else ids).add(item.id)
                        if item.reply_key is not None:
                            refs.add(item.reply_key)
                    case Fact():
                        refs.update(item.refs)
                    case OutOfHours():
                        ids.add(item.message_id)
                    case Assignment() | BotFailure() | Called():
                        pass
        index = MessageIndex(await self._messages.look_up(ids, refs))
        for head in heads.values():
            overlay(index, head.unpublished)
        return index

    async def _room(self, works: Iterable[Work]) -> dict[str, int]:
        asked = {
            (work.tenant, item.decision.agent_id)
            for work in works
            for item in work.items
            if isinstance(item, Assignment) and item.decision.agent_id
        }
        if not asked or self._free_slots is None:
            return {}
        return await self._free_slots(sorted(asked))

    async def _gone(self, works: Iterable[Work], heads: Mapping[str, Head]) -> frozenset[str]:
        """Of the teams that chats come back to from their bots, those that are gone."""
        asked = {
            (work.tenant, head.state["team"])
            for work in works
            if (head := heads.get(work.conversation_id)) is not None
            and head.state["team"] is not None
            and any(isinstance(item, BotFailure) for item in work.items)
        }
        if not asked or self._gone_teams is None:
            return frozenset()
        return await self._gone_teams(asked)

    def _fold(
        self,
        work: Work,
        head: Head | None,
        index: MessageIndex,
        room: dict[str, int],
        gone: frozenset[str],
    ) -> Folded | None:
        """None: facts about a conversation that is not there."""
        now = self._clock()
        if head is not None:
            conversation = conversation_of(head.id, head.version, head.state)
        elif work.contact is not None and work.number_id is not None:
            conversation = blank(
                work.conversation_id,
                tenant=work.tenant,
                number_id=work.number_id,
                contact=work.contact,
                group_id=work.group_id,
                generation=work.generation,
                now=now,
            )
        else:
            return None
        policy = self._names.policy(work.tenant)
        number = self._names.number(work.tenant, conversation.number_id)
        folded = fold(
            conversation,
            work.items,
            index,
            Surroundings(
                now=now,
                contact=work.contact or conversation.contact,
                bot=number.bot if number else False,
                number_team=number.team_id if number else None,
                gone_team=conversation.team if conversation.team in gone else None,
                closed_text=policy.business_hours.text if policy.business_hours else None,
                free_slots=room,
                unknown_grace=self._unknown_grace,
            ),
        )
        self._take_room(folded, room)
        if folded.events:
            terms = terms_of(number, policy)
            folded.conversation = with_due(folded.conversation, terms, now)
        return folded

    @staticmethod
    def _take_room(folded: Folded, room: dict[str, int]) -> None:
        """An agent who was given a chat in this batch has less room for the next one."""
        for item, fate in folded.fates:
            if isinstance(item, Assignment) and fate is Fate.APPLIED and item.decision.agent_id:
                room[item.decision.agent_id] = room.get(item.decision.agent_id, 0) - 1
