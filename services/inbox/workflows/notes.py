"""Notes, priority and snoozing: `conversation.updated`, told in the internal log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from services.inbox.decisions.admission import NOT_FOUND, answered
from services.inbox.decisions.lifecycle import Refusal
from services.inbox.decisions.notes import (
    judge_note,
    judge_priority,
    judge_snooze,
    wrong_end,
)
from services.inbox.decisions.views import activity_data, activity_id, iso
from services.inbox.model.conversation import ContactSnapshot, Conversation
from services.inbox.model.errors import RefusedError, invalid
from services.inbox.model.events import Line
from services.inbox.storage.threads import ThreadStore
from services.inbox.workflows.changing import Call, Changing, conversation_at, repeated_answer
from shared.contracts.events import EventType
from shared.contracts.views import Priority
from shared.mongo.headlog import Head, Step


@dataclass(frozen=True, slots=True)
class Note:
    """What an agent writes for agents. `whisper`: for the holder and supervisors alone."""

    text: str
    mentions: Sequence[str] = ()
    whisper: bool = False


@dataclass(frozen=True, slots=True)
class Noted:
    """The line, and whose chat it is in."""

    line: Line
    contact: ContactSnapshot


@dataclass(frozen=True, slots=True)
class _Change:
    """Members to replace, and what the internal log says of it."""

    members: dict[str, Any]
    details: dict[str, Any]


_Decide = Callable[[Conversation], _Change | Refusal | None]


class Notes:
    """Every call answers with what is after it, or refuses with the reason's code."""

    def __init__(self, changing: Changing, threads: ThreadStore) -> None:
        self._changing = changing
        self._threads = threads

    async def add(self, call: Call, note: Note) -> Noted:
        """A line in the internal log; the call's key makes it one line.

        Refuses with `not_found`, `stale_epoch`, `unknown_agent`; a whisper with `forbidden`,
        `invalid_transition`.
        """
        changing = self._changing
        key = changing.answer_key(call, "note")
        mentions = self._mentioned(call, note)

        async def decide(head: Head | None) -> Step[Noted]:
            conversation = conversation_at(head)
            before = await self._noted(head, conversation, call, key)
            if before is not None:
                return Step(before)
            refusal = judge_note(conversation, call.viewer, epoch=call.epoch, whisper=note.whisper)
            if refusal is not None or conversation is None:
                raise changing.refused(refusal or NOT_FOUND, call.viewer.tenant)
            details: dict[str, Any] = {"kind": "note", "text": note.text, "mentions": mentions}
            if note.whisper:
                details["to"] = self._agent(call, conversation.assignee or "")
            line_id = activity_id(conversation.id, conversation.version + 1)
            draft = changing.begin(conversation, key, 201, line_id)
            event = draft.emit(
                EventType.CONVERSATION_UPDATED,
                draft.conversation,
                actor=call.actor,
                details=details,
            )
            data = activity_data(event, changing.names)
            version = event.conversation.version
            line = Line(line_id, version, event.type.value, event.at, event.actor, data)
            return changing.step(head, draft, Noted(line, conversation.contact))

        return await changing.log.change(call.conversation_id, decide)

    def _mentioned(self, call: Call, note: Note) -> list[dict[str, Any]]:
        found = [self._agent(call, each) for each in dict.fromkeys(note.mentions)]
        for place, each in enumerate(found):
            if each["name"] is None:
                errors = [{"field": f"mentions.{place}", "code": "unknown"}]
                raise RefusedError("unknown_agent", errors=errors)
        return found

    def _agent(self, call: Call, agent: str) -> dict[str, Any]:
        return {"id": agent, "name": self._changing.names.agent_name(call.viewer.tenant, agent)}

    async def _noted(
        self, head: Head | None, conversation: Conversation | None, call: Call, key: str | None
    ) -> Noted | None:
        """The line that this key stands for already."""
        changing = self._changing
        if head is None or conversation is None:
            return None
        if not changing.done_before(conversation, call, key):
            return None
        kept = answered(conversation, key, changing.clock())
        if kept is None or kept.message_id is None or conversation.deleted:
            return None
        tenant = conversation.tenant
        line = await self._threads.activity(tenant, kept.message_id, head.unpublished)
        return None if line is None else Noted(line, conversation.contact)

    # -- priority and snoozing

    async def set_priority(self, call: Call, priority: Priority) -> Conversation:
        """Refuses with `not_found`, `stale_epoch`, `not_holder`."""

        def change(was: Conversation) -> _Change | Refusal | None:
            refusal = judge_priority(was, call.viewer, epoch=call.epoch)
            if refusal is not None or was.priority is priority:
                return refusal
            details = {"kind": "priority", "priority": priority.value, "was": was.priority.value}
            return _Change({"priority": priority}, details)

        return await self._update(call, f"priority:{priority.value}", change)

    async def snooze(self, call: Call, until: datetime) -> Conversation:
        """Until then, or until the customer writes or somebody moves it, lists leave it out.

        Refuses with `validation`, `not_found`, `stale_epoch`, `not_holder`, `invalid_transition`.
        """
        wrong = wrong_end(until, self._changing.clock())
        if wrong is not None:
            raise invalid("until", wrong)

        def change(was: Conversation) -> _Change | Refusal | None:
            refusal = judge_snooze(was, call.viewer, epoch=call.epoch)
            if refusal is not None or was.snoozed_until == until:
                return refusal
            return _Change({"snoozed_until": until}, {"kind": "snoozed", "until": iso(until)})

        return await self._update(call, "snooze", change)

    async def wake(self, call: Call) -> Conversation:
        """Back into the lists. Refuses with `not_found`, `stale_epoch`, `not_holder`."""

        def change(was: Conversation) -> _Change | Refusal | None:
            refusal = judge_priority(was, call.viewer, epoch=call.epoch)
            if refusal is not None or was.snoozed_until is None:
                return refusal
            return _Change({"snoozed_until": None}, {"kind": "woken"})

        return await self._update(call, "wake", change)

    async def _update(self, call: Call, action: str, change: _Decide) -> Conversation:
        changing = self._changing
        key = changing.answer_key(call, action)

        async def decide(head: Head | None) -> Step[Conversation]:
            conversation = conversation_at(head)
            if changing.done_before(conversation, call, key):
                return Step(repeated_answer(conversation, call.viewer))
            changing.require_version(conversation, call)
            found = NOT_FOUND if conversation is None else change(conversation)
            if isinstance(found, Refusal):
                raise changing.refused(found, call.viewer.tenant)
            if conversation is None or found is None:
                return Step(repeated_answer(conversation, call.viewer))
            draft = changing.begin(conversation, key, 200)
            draft.emit(
                EventType.CONVERSATION_UPDATED,
                replace(draft.conversation, **found.members),
                actor=call.actor,
                details=found.details,
            )
            return changing.step(head, draft, draft.conversation)

        return await changing.log.change(call.conversation_id, decide)
