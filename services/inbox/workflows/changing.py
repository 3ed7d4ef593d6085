"""What every call that changes one conversation shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from services.inbox.decisions.admission import answered, exists, judge_version, with_answer
from services.inbox.decisions.draft import Draft
from services.inbox.decisions.lifecycle import Refusal, Viewer, sees
from services.inbox.decisions.timers import Terms, terms_of, with_due
from services.inbox.decisions.views import Names
from services.inbox.model.conversation import Conversation
from services.inbox.model.errors import RefusedError, not_found
from services.inbox.model.events import ActorRef
from services.inbox.model.people import Person
from services.inbox.storage.documents import conversation_document, conversation_of
from services.inbox.storage.entries import render
from services.inbox.storage.existence import Existence
from shared.ids import IdHasher
from shared.mongo.headlog import Change, Head, HeadLog, Step

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """A person's call on a conversation. `epoch`: what they believe; `key`: Idempotency-Key.

    `versions`: the versions that they would have it at (If-Match), None for any.
    """

    viewer: Viewer
    conversation_id: str
    epoch: int | None = None
    key: str | None = None
    versions: tuple[int, ...] | None = None

    @property
    def actor(self) -> ActorRef:
        return self.viewer.actor


@dataclass(frozen=True, slots=True)
class Changing:
    """The parts that a change of a conversation needs."""

    log: HeadLog
    names: Names
    ids: IdHasher
    clock: Callable[[], datetime]
    existence: Existence

    def answer_key(self, call: Call, action: str) -> str | None:
        """What the key is kept as: it belongs to one person and one kind of call."""
        if call.key is None:
            return None
        return self.ids.of("answer", call.viewer.agent, action, call.key)

    def done_before(self, conversation: Conversation | None, call: Call, key: str | None) -> bool:
        """Whether the call was done under this key already."""
        return (
            conversation is not None
            and conversation.tenant == call.viewer.tenant
            and answered(conversation, key, self.clock()) is not None
        )

    def require_version(self, conversation: Conversation | None, call: Call) -> None:
        """Refuses with `version_mismatch` where the viewer sees it at another version."""
        refusal = judge_version(conversation, call.viewer, call.versions)
        if refusal is not None:
            raise self.refused(refusal, call.viewer.tenant)

    def begin(
        self,
        conversation: Conversation,
        key: str | None,
        status: int,
        message_id: str | None = None,
    ) -> Draft:
        """A change of the conversation that keeps what the key is answered with."""
        now = self.clock()
        kept = with_answer(conversation, key, status, now, message_id)
        return Draft(replace(conversation, answered=kept), now)

    def step(self, head: Head | None, draft: Draft, result: T) -> Step[T]:
        """The compare-and-set of everything the draft emitted; none where it emitted nothing."""
        if head is None or not draft.events:
            return Step(result)
        return Step(
            result,
            Change(
                id=head.id,
                expected=head.version,
                state=conversation_document(
                    with_due(draft.conversation, self.terms(draft.conversation), draft.now)
                ),
                entries=tuple(render(event, self.names) for event in draft.events),
                carried=head.unpublished,
            ),
        )

    def terms(self, conversation: Conversation) -> Terms:
        """The settings that the conversation's timers go by."""
        tenant = conversation.tenant
        number = self.names.number(tenant, conversation.number_id)
        return terms_of(number, self.names.policy(tenant))

    async def gone_team(self, conversation: Conversation) -> str | None:
        """The conversation's team where that is not there any more."""
        team = conversation.team
        if team is None:
            return None
        gone = await self.existence.gone_teams([(conversation.tenant, team)])
        return team if gone else None

    async def has_number(self, conversation: Conversation) -> bool:
        """Whether the conversation's number is still the tenant's."""
        return await self.existence.has_number(conversation.tenant, conversation.number_id)

    def refused(self, refusal: Refusal, tenant: str) -> RefusedError:
        """The error of a refusal, its holder with the present name."""
        members: dict[str, Any] = dict(refusal.params)
        holder = members.get("holder")
        if holder is not None:
            members["holder"] = {"id": holder, "name": self.names.agent_name(tenant, holder)}
        return RefusedError(refusal.code, **members)


def viewer_of(person: Person) -> Viewer:
    teams = frozenset(person.team_ids)
    return Viewer(person.id, person.tenant, person.role, teams, person.numbers, person.name)


def conversation_at(head: Head | None) -> Conversation | None:
    return None if head is None else conversation_of(head.id, head.version, head.state)


def repeated_answer(conversation: Conversation | None, viewer: Viewer) -> Conversation:
    """What a repeated call is answered with: who lost sight of it is not told what came since."""
    if not exists(conversation, viewer.tenant):
        raise not_found()
    if sees(conversation, viewer):
        return conversation
    return replace(conversation, last_message=None, unread=0)
