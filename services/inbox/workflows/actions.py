"""What people do with a conversation: each is one compare-and-set by the table of its life."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from services.inbox.decisions.admission import NUMBER_DELETED, Verdict, judge, judge_mark
from services.inbox.decisions.lifecycle import Move, Refusal, Trigger
from services.inbox.model.catalogue import CloseReason
from services.inbox.model.conversation import Conversation
from services.inbox.model.entities import Agent, Team
from services.inbox.model.errors import RefusedError
from services.inbox.model.events import Command
from services.inbox.storage.catalogue import CatalogueStore
from services.inbox.storage.directory import DirectoryStore
from services.inbox.workflows.changing import Call, Changing, conversation_at, repeated_answer
from shared.contracts.commands import CommandType
from shared.contracts.events import By, EventType
from shared.mongo.headlog import Head, Step


class Actions:
    """Every call answers with the conversation after it, or refuses with the reason's code."""

    def __init__(
        self, changing: Changing, directory: DirectoryStore, catalogue: CatalogueStore
    ) -> None:
        self._changing = changing
        self._directory = directory
        self._catalogue = catalogue

    async def accept(self, call: Call) -> Conversation:
        return await self._move(call, Trigger.ACCEPT, agent=call.viewer.agent)

    async def close(
        self, call: Call, reason: str | None = None, note: str | None = None
    ) -> Conversation:
        """`reason` is one of the tenant's catalogue. Refuses with `unknown_close_reason`."""
        closer = call.viewer.agent
        if reason is None:
            return await self._move(call, Trigger.CLOSE, agent=closer, note=note)
        found = await self._catalogue.find(CloseReason, call.viewer.tenant, reason)
        if found is None:
            errors = [{"field": "reason", "code": "unknown"}]
            raise RefusedError("unknown_close_reason", errors=errors)
        told = {"close_reason": {"id": found.id, "name": found.name}}
        return await self._move(
            call, Trigger.CLOSE, agent=closer, note=note, reason=found.id, told=told
        )

    async def reopen(self, call: Call) -> Conversation:
        """Refuses with `number_deleted` where nobody could answer."""
        return await self._move(call, Trigger.REOPEN, agent=call.viewer.agent)

    async def hold(self, call: Call) -> Conversation:
        return await self._move(call, Trigger.HOLD)

    async def give_to_bot(self, call: Call) -> Conversation:
        return await self._move(call, Trigger.BOT)

    async def hand_off(self, call: Call, team: str | None = None) -> Conversation:
        """Refuses with `unknown_team`."""
        if team and await self._directory.find(Team, call.viewer.tenant, team) is None:
            raise _unknown("team")
        return await self._move(call, Trigger.HANDOFF, team=team)

    async def transfer_to_agent(self, call: Call, agent: str, note: str | None) -> Conversation:
        """Refuses with `unknown_agent`; a supervisor's transfer to oneself is the take-over."""
        if await self._directory.find(Agent, call.viewer.tenant, agent) is None:
            raise _unknown("agent")
        takes_over = call.viewer.supervises and agent == call.viewer.agent
        return await self._move(
            call,
            Trigger.TRANSFER_AGENT,
            agent=agent,
            note=note,
            by=By.TAKE_OVER if takes_over else None,
        )

    async def transfer_to_team(self, call: Call, team: str, note: str | None) -> Conversation:
        """Refuses with `unknown_team`."""
        if await self._directory.find(Team, call.viewer.tenant, team) is None:
            raise _unknown("team")
        return await self._move(call, Trigger.TRANSFER_TEAM, team=team, note=note)

    async def delete(self, call: Call) -> None:
        """Leaves a tombstone; the messages are erased with it."""
        await self._move(call, Trigger.DELETE, status=204)

    async def _move(
        self,
        call: Call,
        trigger: Trigger,
        *,
        agent: str | None = None,
        team: str | None = None,
        note: str | None = None,
        by: By | None = None,
        reason: str | None = None,
        told: dict[str, Any] | None = None,
        status: int = 200,
    ) -> Conversation:
        changing = self._changing
        tenant = call.viewer.tenant
        key = changing.answer_key(call, trigger.value)

        async def decide(head: Head | None) -> Step[Conversation]:
            conversation = conversation_at(head)
            if changing.done_before(conversation, call, key) and conversation is not None:
                if trigger is Trigger.DELETE:
                    return Step(conversation)
                return Step(repeated_answer(conversation, call.viewer))
            changing.require_version(conversation, call)
            gone = await changing.gone_team(conversation) if conversation else None
            move = Move(trigger, changing.clock(), agent=agent, team=team, gone_team=gone)
            number = changing.names.number(tenant, conversation.number_id) if conversation else None
            bot = number is not None and number.bot
            verdict = judge(conversation, call.viewer, move, epoch=call.epoch, bot=bot)
            if isinstance(verdict, Refusal):
                raise changing.refused(verdict, tenant)
            if conversation is None or verdict is Verdict.HOLDS:
                return Step(repeated_answer(conversation, call.viewer))
            if trigger is Trigger.REOPEN and not await changing.has_number(conversation):
                raise changing.refused(NUMBER_DELETED, tenant)
            draft = changing.begin(conversation, key, status)
            details = {**(told or {}), **({"note": note} if note else {})} or None
            draft.move(move, actor=call.actor, by=by, reason=reason, details=details)
            return changing.step(head, draft, draft.conversation)

        return await changing.log.change(call.conversation_id, decide)

    async def mark_read(self, call: Call) -> Conversation:
        """Also asks for the blue ticks, where something was unread."""
        return await self._mark(call, read=True)

    async def mark_unread(self, call: Call) -> Conversation:
        return await self._mark(call, read=False)

    async def _mark(self, call: Call, *, read: bool) -> Conversation:
        changing = self._changing
        key = changing.answer_key(call, "read" if read else "unread")

        async def decide(head: Head | None) -> Step[Conversation]:
            conversation = conversation_at(head)
            if changing.done_before(conversation, call, key):
                return Step(repeated_answer(conversation, call.viewer))
            changing.require_version(conversation, call)
            refusal = judge_mark(conversation, call.viewer, epoch=call.epoch)
            if refusal is not None or conversation is None:
                raise changing.refused(refusal or Refusal("not_found"), call.viewer.tenant)
            if read == (conversation.unread == 0):
                return Step(conversation)
            draft = changing.begin(conversation, key, 200)
            draft.emit(
                EventType.CONVERSATION_READ if read else EventType.CONVERSATION_UNREAD,
                replace(draft.conversation, unread=0 if read else 1),
                actor=call.actor,
                commands=ticks(conversation) if read else (),
            )
            return changing.step(head, draft, draft.conversation)

        return await changing.log.change(call.conversation_id, decide)


def ticks(conversation: Conversation, *, typing: bool = False) -> tuple[Command, ...]:
    """Blue ticks up to the last message, with `typing` or not; groups have none (Groups API)."""
    if conversation.last_inbound_wamid is None or conversation.group_id is not None:
        return ()
    return (
        Command(
            CommandType.MESSAGE_READ,
            {
                "conversation_id": conversation.id,
                "number_id": conversation.number_id,
                "wamid": conversation.last_inbound_wamid,
                **({"typing": True} if typing else {}),
            },
        ),
    )


def _unknown(kind: str) -> RefusedError:
    return RefusedError(f"unknown_{kind}", errors=[{"field": f"{kind}_id", "code": "unknown"}])
