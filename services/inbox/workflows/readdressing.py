"""Brings a contact's new phone or BSUID into its conversations before the customer writes there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from services.inbox.decisions.draft import Draft
from services.inbox.model.events import SYSTEM
from services.inbox.storage.contacts import contact_of
from services.inbox.storage.conversations import ConversationStore
from services.inbox.workflows.changing import Changing, conversation_at
from shared.contracts.events import EventType
from shared.mongo.headlog import Head, HeadLog, Step


class Readdressing:
    """What an agent sends on another number goes to where the customer is reached now.

    It is done before the offset of what told of it: a crash repeats it.
    """

    def __init__(
        self, changing: Changing, contacts: HeadLog, conversations: ConversationStore
    ) -> None:
        self._changing = changing
        self._contacts = contacts
        self._conversations = conversations

    async def follow(self, tenant: str, contacts: Sequence[str]) -> None:
        """The conversations of all `contacts`, who are one user, show the first one's address."""
        if not contacts:
            return
        head = (await self._contacts.load(contacts[:1])).get(contacts[0])
        merged = () if head is None else contact_of(head).ids
        ids = [*{*contacts, *merged}]
        for conversation in await self._conversations.of_contacts(tenant, ids):
            await self._changing.log.change(
                conversation.id, lambda head: self._readdressed(head, contacts[0])
            )

    async def _readdressed(self, head: Head | None, contact_id: str) -> Step[None]:
        """Reads the contact after the conversation: a round that read an older one loses."""
        was = conversation_at(head)
        found = (await self._contacts.load([contact_id])).get(contact_id)
        if was is None or was.deleted or found is None:
            return Step(None)
        contact = contact_of(found)
        shown = replace(
            was.contact,
            name=contact.name,
            wa_id=contact.wa_id,
            user_id=contact.user_id,
            username=contact.username,
        )
        draft = Draft(was, self._changing.clock())
        if shown != was.contact:
            draft.emit(
                EventType.CONVERSATION_UPDATED,
                replace(was, contact=shown),
                actor=SYSTEM,
                details={"kind": "readdressed"},
            )
        return self._changing.step(head, draft, None)
