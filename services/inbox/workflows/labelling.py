"""Labels and blocking: the contact commits, its conversations follow.

The contact is the head of its own log. What follows in its conversations is done before the call
answers, and again by the contact's publication (`follow`, inside it, before it is remembered):
after a crash the sweeper repeats it with the outbox entry.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson

from services.inbox.decisions.admission import not_holder
from services.inbox.decisions.draft import Draft
from services.inbox.decisions.lifecycle import Move, Trigger, Viewer, holds, sees
from services.inbox.decisions.sending import recipient_of
from services.inbox.decisions.views import iso, label_view
from services.inbox.model.contact import ATTRIBUTES_KEPT, Contact, ContactCard
from services.inbox.model.conversation import Conversation
from services.inbox.model.errors import RefusedError, invalid, not_found
from services.inbox.model.events import SYSTEM, ActorRef, Command
from services.inbox.storage.contacts import contact_change, contact_of
from services.inbox.storage.conversations import ConversationStore
from services.inbox.workflows.changing import Changing, conversation_at
from shared.contracts.commands import CommandType
from shared.contracts.events import EventType
from shared.contracts.views import ActorKind
from shared.mongo.headlog import Head, HeadLog, LogRecord, Publication, Step

_FOLLOWED = frozenset(
    {EventType.CONTACT_UPDATED, EventType.CONTACT_BLOCKED, EventType.CONTACT_UNBLOCKED}
)


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a contact is to be: None leaves it."""

    event: EventType
    labels: tuple[str, ...] | None = None
    blocked: bool | None = None
    add: tuple[str, ...] = ()
    remove: frozenset[str] = frozenset()
    card: ContactCard | None = None

    def applied(self, contact: Contact, at: datetime) -> Contact:
        labels = contact.labels if self.labels is None else self.labels
        labels = tuple(dict.fromkeys((*labels, *self.add)))
        card = self.card or ContactCard()
        blocked = contact.blocked if self.blocked is None else self.blocked
        return replace(
            contact,
            labels=tuple(each for each in labels if each not in self.remove),
            blocked=blocked,
            blocked_at=(contact.blocked_at or at) if blocked else None,
            attributes=card.merged(contact.attributes),
            notes=contact.notes if card.notes is None else card.notes or None,
        )


class Labelling:
    """Every call answers with the contact after it, or refuses with the reason's code."""

    def __init__(
        self, changing: Changing, contacts: HeadLog, conversations: ConversationStore
    ) -> None:
        self._changing = changing
        self._contacts = contacts
        self._conversations = conversations

    async def contact(self, viewer: Viewer, contact_id: str) -> Contact:
        """The contact, for who sees a conversation of it, and for supervisors."""
        contact, _ = await self._seen(viewer, contact_id)
        return contact

    async def set_labels(self, viewer: Viewer, contact_id: str, labels: Sequence[str]) -> Contact:
        """Replaces the labels. Refuses with `unknown_label`, `not_found`."""
        await self._seen(viewer, contact_id)
        wanted = tuple(dict.fromkeys(labels))
        self._check(viewer, "labels", wanted)
        wish = _Wish(EventType.CONTACT_UPDATED, labels=wanted)
        return await self._change(viewer.tenant, viewer.agent, contact_id, wish, viewer.actor)

    async def relabel(
        self, viewer: Viewer, contact_id: str, add: Sequence[str], remove: Sequence[str]
    ) -> Contact:
        """Adds labels and takes others away. Refuses with `unknown_label`, `not_found`."""
        await self._seen(viewer, contact_id)
        self._check(viewer, "add", add)
        gone = frozenset(remove) - frozenset(add)
        wish = _Wish(EventType.CONTACT_UPDATED, add=tuple(add), remove=gone)
        return await self._change(viewer.tenant, viewer.agent, contact_id, wish)

    async def write_card(self, viewer: Viewer, contact_id: str, card: ContactCard) -> Contact:
        """Changes attributes and notes. Refuses with `not_found`, `validation`."""
        await self._seen(viewer, contact_id)
        wish = _Wish(EventType.CONTACT_UPDATED, card=card)
        return await self._change(viewer.tenant, viewer.agent, contact_id, wish)

    async def conversations(self, viewer: Viewer, contact_id: str) -> list[Conversation]:
        """Those of the contact that the viewer sees, the last active first."""
        _, seen = await self._seen(viewer, contact_id)
        return sorted(seen, key=_last_active, reverse=True)

    async def replace_label(self, tenant: str, label: str, into: str | None, by: str) -> None:
        """Whoever has the one label has the other instead, or none. Idempotent.

        Contacts may be gone meanwhile, with their tenant: there is nothing to do for them.
        """
        add = () if into is None else (into,)
        wish = _Wish(EventType.CONTACT_UPDATED, add=add, remove=frozenset({label}))
        while contacts := await self._conversations.contacts_with(tenant, label):
            for contact_id in contacts:
                try:
                    await self._change(tenant, by, contact_id, wish)
                except RefusedError as refusal:
                    if refusal.code != "not_found":
                        raise

    def _check(self, viewer: Viewer, member: str, labels: Sequence[str]) -> None:
        for place, label in enumerate(labels):
            if self._changing.names.label(viewer.tenant, label) is None:
                errors = [{"field": f"{member}.{place}", "code": "unknown"}]
                raise RefusedError("unknown_label", errors=errors)

    async def block(self, viewer: Viewer, contact_id: str) -> Contact:
        """Closes the contact's conversations. For the holder and supervisors."""
        await self._held(viewer, contact_id)
        wish = _Wish(EventType.CONTACT_BLOCKED, blocked=True)
        return await self._change(viewer.tenant, viewer.agent, contact_id, wish)

    async def unblock(self, viewer: Viewer, contact_id: str) -> Contact:
        """Lets the contact write again; opens nothing. For the (last) holder and supervisors."""
        await self._held(viewer, contact_id)
        wish = _Wish(EventType.CONTACT_UNBLOCKED, blocked=False)
        return await self._change(viewer.tenant, viewer.agent, contact_id, wish)

    # -- who may

    async def _seen(self, viewer: Viewer, contact_id: str) -> tuple[Contact, list[Conversation]]:
        """The contact, and those of its chats that the viewer sees.

        Supervisors need none: its chats may be deleted, and it blocked for ever.
        """
        contact = await self._contact(contact_id)
        if contact is None or contact.tenant != viewer.tenant:
            raise not_found()
        ids = {contact_id, *contact.ids}
        held = await self._conversations.of_contacts(viewer.tenant, [*ids])
        seen = [each for each in held if sees(each, viewer)]
        if not seen and not viewer.supervises:
            raise not_found()
        return contact, seen

    async def _contact(self, contact_id: str) -> Contact | None:
        """The contact, or the one that it was merged into."""
        while True:
            head = (await self._contacts.load([contact_id])).get(contact_id)
            contact = None if head is None else contact_of(head)
            if contact is None or contact.merged_into is None:
                return contact
            contact_id = contact.merged_into

    async def _held(self, viewer: Viewer, contact_id: str) -> None:
        _, seen = await self._seen(viewer, contact_id)
        if not viewer.supervises and not any(holds(each, viewer) for each in seen):
            raise self._changing.refused(not_holder(seen[0]), viewer.tenant)

    # -- the contact

    async def _change(
        self, tenant: str, agent: str, contact_id: str, wish: _Wish, by: ActorRef | None = None
    ) -> Contact:
        changing = self._changing
        actor = by or ActorRef(ActorKind.AGENT, agent)

        async def decide(head: Head | None) -> Step[Contact]:
            if head is None or head.state["tenant"] != tenant:
                raise not_found()
            before = contact_of(head)
            if before.merged_into is not None:
                return Step(before)
            after = wish.applied(before, changing.clock())
            if len(after.attributes) > ATTRIBUTES_KEPT:
                raise invalid("attributes", "too_long")
            if after == before:
                return Step(before)
            names = changing.names
            change = contact_change(
                after,
                labels=[label_view(tenant, each, names) for each in after.labels],
                at=iso(changing.clock()),
                actor={
                    "kind": actor.kind.value,
                    "id": actor.id,
                    "name": names.agent_name(tenant, agent),
                },
                carried=head.unpublished,
                type_=wish.event,
                commands=await self._left_blocked(replace(after, version=before.version + 1))
                if before.blocked and not after.blocked
                else (),
            )
            return Step(replace(after, version=change.version), change)

        contact = await self._contacts.change(contact_id, decide)
        while contact.merged_into is not None:
            contact = await self._contacts.change(contact.merged_into, decide)
        await self._follow(contact.tenant, contact.id, actor)
        return contact

    async def _left_blocked(self, contact: Contact) -> list[tuple[str, Command]]:
        """Meta's way back on numbers where the contact has no chat that follows it, but had."""
        tenant, shown = contact.tenant, contact.snapshot()
        kept = await self._conversations.of_contacts(tenant, contact.ids)
        gone = await self._conversations.of_contacts(tenant, contact.ids, deleted=True)
        followed = {each.number_id for each in kept}
        by_number = {each.number_id: each for each in gone if each.number_id not in followed}
        now = self._changing.clock()
        return [
            (each.id, command)
            for each in by_number.values()
            for command in _block_at_meta(replace(each, contact=shown), contact, now)
        ]

    # -- its conversations

    async def follow(self, publications: Sequence[Publication]) -> None:
        """Brings the conversations of published contacts to their contact's state.

        Their names and phones come with the messages: what webhooks show changes no chat here.
        """
        shown: set[str] = set()
        for publication in publications:
            for entry in publication.entries:
                for record in entry.events:
                    actor = _actor_of(record)
                    if actor == SYSTEM:
                        shown.add(publication.id)
                    elif actor is not None:
                        await self._follow(record.envelope.tenant, publication.id, actor)
        await self._follow_marked(shown)

    async def greet(self, publications: Sequence[Publication]) -> None:
        """Brings new conversations to what was decided of their contact while they were made.

        Part of their publication, as `follow` is of the contact's: whichever is later sees both.
        """
        made = {
            _contact_of(entry.events[0])
            for publication in publications
            for entry in publication.entries
            if entry.version == 1
        }
        await self._follow_marked(made)

    async def _follow_marked(self, contacts: Collection[str]) -> None:
        """One look for all of them: few are blocked, labelled or merged."""
        if contacts:
            for tenant, contact in await self._conversations.marked_contacts([*contacts]):
                await self._follow(tenant, contact, SYSTEM)

    async def _follow(self, tenant: str, contact_id: str, actor: ActorRef) -> None:
        """Idempotent. Each round reads the contact after the conversation, so none ends older."""
        contact = await self._contact(contact_id)
        if contact is None:
            return
        for conversation in await self._conversations.of_contacts(tenant, contact.ids):
            await self._changing.log.change(
                conversation.id, lambda head: self._followed(head, contact.id, actor)
            )

    async def _followed(self, head: Head | None, contact_id: str, actor: ActorRef) -> Step[None]:
        conversation = conversation_at(head)
        contact_head = (await self._contacts.load([contact_id])).get(contact_id)
        if conversation is None or conversation.deleted or contact_head is None:
            return Step(None)
        contact = contact_of(contact_head)
        draft = Draft(conversation, self._changing.clock())
        if conversation.labels != contact.labels:
            draft.emit(
                EventType.CONVERSATION_LABELLED,
                replace(conversation, labels=contact.labels),
                actor=actor,
                details=self._told(conversation, contact),
            )
        if conversation.contact.blocked != contact.blocked:
            _take_block(draft, contact, actor)
        if contact.blocked:
            draft.move(Move(Trigger.BLOCK, draft.now), actor=actor, reason="blocked")
        return self._changing.step(head, draft, None)

    def _told(self, conversation: Conversation, contact: Contact) -> dict[str, Any]:
        """What the internal log says of a change of labels."""
        names = self._changing.names

        def views(labels: Sequence[str]) -> list[dict[str, Any]]:
            return [label_view(contact.tenant, label, names) for label in labels]

        before, after = conversation.labels, contact.labels
        return {
            "added": views([each for each in after if each not in before]),
            "removed": views([each for each in before if each not in after]),
        }


def _last_active(conversation: Conversation) -> datetime:
    line = conversation.last_message
    return line.at if line is not None else conversation.updated_at


def _take_block(draft: Draft, contact: Contact, actor: ActorRef) -> None:
    """Shows the block, and asks Meta for it where its rule allows.

    Meta blocks only who wrote in the last 24 hours (Block Users API); it has no such rule for
    the way back.
    """
    was = draft.conversation
    shown = replace(was.contact, blocked=contact.blocked)
    draft.emit(
        EventType.CONVERSATION_UPDATED,
        replace(was, contact=shown),
        actor=actor,
        details={"kind": "blocked" if contact.blocked else "unblocked"},
        commands=_block_at_meta(was, contact, draft.now),
    )


def _block_at_meta(was: Conversation, contact: Contact, now: datetime) -> tuple[Command, ...]:
    closes = was.window_closes_at
    allowed = not contact.blocked or (closes is not None and closes > now)
    if was.group_id is not None or not allowed:
        return ()
    return (
        Command(
            CommandType.CONTACT_BLOCK,
            {
                "contact_id": contact.id,
                "number_id": was.number_id,
                "recipient": recipient_of(was),
                "blocked": contact.blocked,
                "contact_version": contact.version,
            },
        ),
    )


def _contact_of(record: LogRecord) -> str:
    """The contact of a conversation's event."""
    contact: str = orjson.loads(record.value or b"")["conversation"]["contact"]["id"]
    return contact


def _actor_of(record: LogRecord) -> ActorRef | None:
    """Who did what a contact's event tells of; None where no chat can differ yet."""
    envelope = record.envelope
    if envelope.type not in _FOLLOWED or envelope.sequence == 1 or record.value is None:
        return None
    told = orjson.loads(record.value)["actor"]
    return ActorRef(ActorKind(told["kind"]), told["id"])
