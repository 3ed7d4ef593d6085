"""Contacts: who sees a conversation of one sees the contact."""

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import Field

from services.inbox.api.bodies import Body, EntityId
from services.inbox.api.conversations import PathId, as_json
from services.inbox.api.problems import responses
from services.inbox.api.security import AnyPerson, IdempotencyKey
from services.inbox.decisions.views import Names, contact_view, label_view
from services.inbox.model.contact import Contact
from services.inbox.workflows.changing import viewer_of
from services.inbox.workflows.labelling import Labelling
from shared.contracts import views


class Labels(Body):
    """All labels that the contact is to have."""

    labels: Annotated[list[EntityId], Field(max_length=100)]


def contacts_router(labelling: Labelling, names: Names) -> APIRouter:
    """`/v1/contacts`. The writes are absolute: their repeats change nothing, with a key or not."""
    routes = APIRouter(
        prefix="/v1/contacts",
        tags=["contacts"],
        responses=responses("unauthorized", "not_found", "validation", "unavailable"),
    )

    def shown(contact: Contact) -> Response:
        view: dict[str, Any] = {
            **contact_view(contact.snapshot()),
            "version": contact.version,
            "labels": [label_view(contact.tenant, each, names) for each in contact.labels],
        }
        return as_json(view)

    @routes.get("/{contact_id}", response_model=views.Contact)
    async def contact(person: AnyPerson, contact_id: PathId) -> Response:
        return shown(await labelling.contact(viewer_of(person), contact_id))

    @routes.put(
        "/{contact_id}/labels",
        response_model=views.Contact,
        responses=responses("unknown_label"),
    )
    async def set_labels(
        person: AnyPerson, contact_id: PathId, body: Labels, _: IdempotencyKey = None
    ) -> Response:
        return shown(await labelling.set_labels(viewer_of(person), contact_id, body.labels))

    @routes.post(
        "/{contact_id}/block", response_model=views.Contact, responses=responses("not_holder")
    )
    async def block_contact(
        person: AnyPerson, contact_id: PathId, _: IdempotencyKey = None
    ) -> Response:
        return shown(await labelling.block(viewer_of(person), contact_id))

    @routes.post(
        "/{contact_id}/unblock", response_model=views.Contact, responses=responses("not_holder")
    )
    async def unblock_contact(
        person: AnyPerson, contact_id: PathId, _: IdempotencyKey = None
    ) -> Response:
        return shown(await labelling.unblock(viewer_of(person), contact_id))

    return routes
