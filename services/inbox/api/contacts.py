"""Contacts: who sees a conversation of one sees the contact, supervisors see all."""

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from services.inbox.api.bodies import Body, Cursor, EntityId, Limit, of_moment, to_moment
from services.inbox.api.conversations import PathId, as_json, encodable
from services.inbox.api.problems import responses
from services.inbox.api.security import (
    AnyPerson,
    IdempotencyKey,
    PersonOrBot,
    SupervisorPerson,
)
from services.inbox.decisions.views import Names, contact_view, conversation_view, iso, label_view
from services.inbox.model.contact import Contact, ContactCard
from services.inbox.storage.blocked import BlockedStore
from services.inbox.workflows.changing import viewer_of
from services.inbox.workflows.labelling import Labelling
from shared.contracts import views
from shared.contracts.base import Time

AttributeName = Annotated[
    str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z][0-9A-Za-z_-]*$")
]
AttributeValue = Annotated[str, Field(max_length=500), AfterValidator(encodable)]


class Card(views.Contact):
    """A contact with what agents wrote of it. Its events tell the version alone of these."""

    attributes: dict[str, str]
    notes: str | None
    created_at: Time
    blocked_at: Time | None


class CardChange(Body):
    """Attributes are merged, null takes one away; `notes` replaces, null clears."""

    attributes: dict[AttributeName, AttributeValue | None] = {}
    notes: Annotated[str, Field(max_length=4000), AfterValidator(encodable)] | None = None


class ContactConversations(Body):
    """All at once: a contact has one conversation with each number."""

    items: list[views.Conversation]
    next_cursor: None = None


class BlockedContacts(BaseModel):
    """The last one that was blocked first."""

    items: list[Card]
    next_cursor: str | None


class Labels(Body):
    """All labels that the contact is to have."""

    labels: Annotated[list[EntityId], Field(max_length=100)]


def contacts_router(labelling: Labelling, blocked: BlockedStore, names: Names) -> APIRouter:
    """`/v1/contacts`. The writes are absolute: their repeats change nothing, with a key or not."""
    routes = APIRouter(
        prefix="/v1/contacts",
        tags=["contacts"],
        responses=responses("unauthorized", "not_found", "validation", "unavailable"),
    )

    def card(contact: Contact) -> dict[str, Any]:
        return {
            **contact_view(contact.snapshot()),
            "version": contact.version,
            "labels": [label_view(contact.tenant, each, names) for each in contact.labels],
            "attributes": dict(contact.attributes),
            "notes": contact.notes,
            "created_at": iso(contact.created_at),
            "blocked_at": None if contact.blocked_at is None else iso(contact.blocked_at),
        }

    def shown(contact: Contact) -> Response:
        return as_json(card(contact))

    @routes.get("/blocked", response_model=BlockedContacts, responses=responses("forbidden"))
    async def blocked_contacts(
        person: SupervisorPerson, limit: Limit = 50, cursor: Cursor = None
    ) -> Response:
        """Whom the tenant blocked, for supervisors."""
        page = await blocked.page(person.tenant, after=to_moment(cursor), limit=limit)
        after = None if page.after is None else of_moment(*page.after)
        return as_json({"items": [*map(card, page.items)], "next_cursor": after})

    @routes.get("/{contact_id}", response_model=Card)
    async def contact(person: AnyPerson, contact_id: PathId) -> Response:
        return shown(await labelling.contact(viewer_of(person), contact_id))

    @routes.patch("/{contact_id}", response_model=Card)
    async def change_contact(person: AnyPerson, contact_id: PathId, body: CardChange) -> Response:
        notes = body.notes or "" if "notes" in body.model_fields_set else None
        change = ContactCard(body.attributes, notes)
        return shown(await labelling.write_card(viewer_of(person), contact_id, change))

    @routes.get("/{contact_id}/conversations", response_model=ContactConversations)
    async def conversations_of_contact(person: AnyPerson, contact_id: PathId) -> Response:
        found = await labelling.conversations(viewer_of(person), contact_id)
        items = [conversation_view(each, names) for each in found]
        return as_json({"items": items, "next_cursor": None})

    @routes.put(
        "/{contact_id}/labels",
        response_model=Card,
        responses=responses("unknown_label"),
    )
    async def set_labels(
        person: PersonOrBot, contact_id: PathId, body: Labels, _: IdempotencyKey = None
    ) -> Response:
        return shown(await labelling.set_labels(viewer_of(person), contact_id, body.labels))

    @routes.post("/{contact_id}/block", response_model=Card, responses=responses("not_holder"))
    async def block_contact(
        person: AnyPerson, contact_id: PathId, _: IdempotencyKey = None
    ) -> Response:
        return shown(await labelling.block(viewer_of(person), contact_id))

    @routes.post("/{contact_id}/unblock", response_model=Card, responses=responses("not_holder"))
    async def unblock_contact(
        person: AnyPerson, contact_id: PathId, _: IdempotencyKey = None
    ) -> Response:
        return shown(await labelling.unblock(viewer_of(person), contact_id))

    return routes
