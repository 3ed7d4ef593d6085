"""What became of one item of a webhook, for the tenant's admin."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel

from services.inbox.api.problems import responses
from services.inbox.api.security import AdminPerson
from services.inbox.model.conversation import Message
from services.inbox.model.errors import not_found
from services.inbox.model.ledger import Account, ItemState, ParkedItem, WaitingItem
from services.inbox.storage.ledger import LedgerStore
from shared.contracts.base import Time
from shared.contracts.views import MessageStatus

Wamid = Annotated[str, Path(max_length=500, pattern=r"^[\x21-\x7e]+$")]


class LedgerMessageView(BaseModel):
    """`sent_at` is WhatsApp's time, `received_at` that of ingest. No content."""

    id: str
    conversation_id: str
    direction: Literal["in", "out"]
    type: str
    status: MessageStatus | None
    sent_at: Time | None
    received_at: Time

    @classmethod
    def of(cls, message: Message) -> "LedgerMessageView":
        return cls(
            id=message.id,
            conversation_id=message.conversation_id,
            direction=message.direction,
            type=message.type,
            status=message.status,
            sent_at=message.sent_at,
            received_at=message.received_at,
        )


class LedgerWaitingView(BaseModel):
    """A fact whose message is not here; it is kept up to `until`."""

    kind: str
    received_at: Time
    until: Time

    @classmethod
    def of(cls, item: WaitingItem) -> "LedgerWaitingView":
        return cls(kind=item.kind, received_at=item.received_at, until=item.until)


class LedgerParkedView(BaseModel):
    """`produced_at` is when ingest had it in Kafka."""

    kind: str
    reason: str
    produced_at: Time
    parked_at: Time

    @classmethod
    def of(cls, item: ParkedItem) -> "LedgerParkedView":
        return cls(
            kind=item.kind,
            reason=item.reason,
            produced_at=item.produced_at,
            parked_at=item.parked_at,
        )


class LedgerView(BaseModel):
    state: ItemState
    message: LedgerMessageView | None
    waiting: list[LedgerWaitingView]
    parked: list[LedgerParkedView]

    @classmethod
    def of(cls, state: ItemState, account: Account) -> "LedgerView":
        message = account.message
        return cls(
            state=state,
            message=None if message is None else LedgerMessageView.of(message),
            waiting=[*map(LedgerWaitingView.of, account.waiting)],
            parked=[*map(LedgerParkedView.of, account.parked)],
        )


def router(store: LedgerStore) -> APIRouter:
    """`/v1/admin/ledger`."""
    routes = APIRouter(
        prefix="/v1/admin/ledger",
        tags=["admin"],
        responses=responses("unauthorized", "forbidden", "not_found", "validation", "unavailable"),
    )

    @routes.get("/{wamid:path}")
    async def account(person: AdminPerson, wamid: Wamid) -> LedgerView:
        """404 for what nothing stored names.

        It never came, was of a blocked contact, was a reaction or an edit that is applied, or is
        in quarantine (an operator's matter: its tenant is not known).
        """
        found = await store.account(person.tenant, wamid)
        if found.state is None:
            raise not_found()
        return LedgerView.of(found.state, found)

    return routes
