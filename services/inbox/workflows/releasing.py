"""What the directory's deletions mean for conversations: release, refuse, erase."""

from __future__ import annotations

from collections.abc import Sequence

from services.inbox.decisions.draft import Draft
from services.inbox.decisions.lifecycle import Move, Trigger
from services.inbox.model.events import SYSTEM
from services.inbox.storage.conversations import ConversationStore
from services.inbox.workflows.changing import Changing, conversation_at
from services.inbox.workflows.labelling import Labelling
from shared.contracts.views import Status
from shared.mongo.headlog import Head, Step

_HELD = (Status.OPEN, Status.ON_HOLD)


class Releasing:
    """`services.inbox.workflows.hooks.ConversationHooks` on the real conversations.

    Every method is idempotent and is repeated until it succeeds.
    """

    def __init__(self, changing: Changing, store: ConversationStore, labelling: Labelling) -> None:
        self._changing = changing
        self._store = store
        self._labelling = labelling

    async def has_open_chats(self, tenant: str, number_id: str) -> bool:
        """Whether the number has a conversation that is not closed."""
        return await self._store.has_active(tenant, number_id)

    async def release_agent(self, tenant: str, agent_id: str) -> None:
        """The agent's open chats go to On Hold without team."""
        await self._release(
            await self._store.ids_of(tenant, {"assignee": agent_id}, [Status.OPEN]),
            agent=agent_id,
            reason="agent_deleted",
        )

    async def release_team(self, tenant: str, team_id: str) -> None:
        """The team's chats, open or waiting, go to On Hold without team."""
        await self._release(
            await self._store.ids_of(tenant, {"team": team_id}, _HELD),
            team=team_id,
            reason="team_deleted",
        )

    async def replace_label(self, tenant: str, label: str, into: str | None, by: str) -> None:
        """Contacts with the label have the other one instead; their conversations follow."""
        await self._labelling.replace_label(tenant, label, into, by)

    async def erase_tenant(self, tenant: str) -> None:
        """Deletes everything that the conversations hold of a tenant."""
        await self._store.erase(tenant)

    async def _release(
        self,
        conversations: Sequence[str],
        *,
        reason: str,
        agent: str | None = None,
        team: str | None = None,
    ) -> None:
        async def decide(head: Head | None) -> Step[None]:
            conversation = conversation_at(head)
            if (
                conversation is None
                or conversation.deleted
                or conversation.status not in _HELD
                or (agent is not None and conversation.assignee != agent)
                or (team is not None and conversation.team != team)
            ):
                return Step(None)
            now = self._changing.clock()
            draft = Draft(conversation, now)
            draft.move(Move(Trigger.RELEASED, now), actor=SYSTEM, reason=reason)
            return self._changing.step(head, draft, None)

        for conversation in conversations:
            await self._changing.log.change(conversation, decide)
