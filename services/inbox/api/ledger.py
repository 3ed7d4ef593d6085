"""What became of one item of a webhook, and of how many, for the tenant's admin."""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel

from services.inbox.api.bodies import Day
from services.inbox.api.problems import responses
from services.inbox.api.security import AdminPerson
from services.inbox.model.conversation import Message
from services.inbox.model.errors import invalid, not_found
from services.inbox.model.ledger import Account, ItemState, ParkedItem, WaitingItem
from services.inbox.model.tally import REFUSED, STORED, DayTally, Outcome
from services.inbox.storage.ledger import LedgerStore
from services.inbox.workflows.tracing import Tracing
from shared.contracts.base import Time
from shared.contracts.views import MessageStatus

FirstDay = Annotated[Day | None, Query(alias="from")]
LastDay = Annotated[Day | None, Query(alias="to")]
_WEEK = timedelta(days=6)
_LONGEST = timedelta(days=365)
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


class LedgerDuplicateView(BaseModel):
    """WhatsApp handed the same item over once more; it had no effect."""

    produced_at: Time


class LedgerQuarantinedView(BaseModel):
    """`reason`: `wrong_app`, `unknown_number`. An operator can drive it again."""

    reason: str
    received_at: Time | None
    quarantined_at: Time


class LedgerHopView(BaseModel):
    """`whatsapp`, `ingest`, `kafka`, `inbox`, `event`; of a message of ours what WhatsApp told."""

    hop: str
    at: Time


class LedgerView(BaseModel):
    """What is too old for a topic to have it is not among the `hops`.

    `late`: WhatsApp handed it over more than five minutes after it was written.
    """

    state: ItemState
    message: LedgerMessageView | None
    waiting: list[LedgerWaitingView]
    parked: list[LedgerParkedView]
    duplicates: list[LedgerDuplicateView]
    quarantined: list[LedgerQuarantinedView]
    hops: list[LedgerHopView]
    late: bool

    @classmethod
    def of(cls, state: ItemState, account: Account) -> "LedgerView":
        message = account.message
        return cls(
            state=state,
            message=None if message is None else LedgerMessageView.of(message),
            waiting=[*map(LedgerWaitingView.of, account.waiting)],
            parked=[*map(LedgerParkedView.of, account.parked)],
            duplicates=[LedgerDuplicateView(produced_at=at) for at in account.again],
            quarantined=[
                LedgerQuarantinedView(
                    reason=each.reason,
                    received_at=each.received_at,
                    quarantined_at=each.quarantined_at,
                )
                for each in account.quarantined
            ],
            hops=[LedgerHopView(hop=each.hop, at=each.at) for each in account.hops],
            late=account.late,
        )


class LedgerCountsView(BaseModel):
    """Items of webhooks. `received` is counted apart: it is `stored + duplicate + refused`.

    `messages`, `facts` (statuses, reactions, edits, revokes) and `changes` are stored; `blocked`,
    `parked` and `unreadable` are refused. What was parked and released since is stored.
    """

    received: int
    stored: int
    duplicate: int
    refused: int
    messages: int
    facts: int
    changes: int
    blocked: int
    parked: int
    unreadable: int

    @classmethod
    def of(cls, days: Iterable[DayTally]) -> "LedgerCountsView":
        received, outcomes = 0, Counter[Outcome]()
        for day in days:
            received += day.received
            outcomes.update(day.outcomes)
        return cls(
            received=received,
            stored=sum(outcomes[each] for each in STORED),
            duplicate=outcomes[Outcome.DUPLICATE],
            refused=sum(outcomes[each] for each in REFUSED),
            messages=outcomes[Outcome.MESSAGE],
            facts=outcomes[Outcome.FACT],
            changes=outcomes[Outcome.CHANGE],
            blocked=outcomes[Outcome.BLOCKED],
            parked=outcomes[Outcome.PARKED],
            unreadable=outcomes[Outcome.DEAD],
        )


class LedgerDayView(BaseModel):
    """A day in UTC, by the time at which ingest had the item in Kafka."""

    day: date
    counts: LedgerCountsView


class LedgerDaysView(BaseModel):
    """The days on which something came, the latest first, and their sum."""

    items: list[LedgerDayView]
    total: LedgerCountsView


def router(store: LedgerStore, tracing: Tracing) -> APIRouter:
    """`/v1/admin/ledger`."""
    routes = APIRouter(
        prefix="/v1/admin/ledger",
        tags=["admin"],
        responses=responses("unauthorized", "forbidden", "not_found", "validation", "unavailable"),
    )

    @routes.get("")
    async def counts(
        person: AdminPerson, since: FirstDay = None, until: LastDay = None
    ) -> LedgerDaysView:
        """What was counted of each day from `from` to `to`, both included: the last week's.

        At most 366 days; the counters are kept for 400. They are a second behind at most.
        """
        last = until or datetime.now(UTC).date()
        first = since or max(last, date.min + _WEEK) - _WEEK
        if not timedelta() <= last - first <= _LONGEST:
            raise invalid("from", "invalid")
        days = await store.days(person.tenant, first, last)
        return LedgerDaysView(
            items=[
                LedgerDayView(day=each.day, counts=LedgerCountsView.of([each])) for each in days
            ],
            total=LedgerCountsView.of(days),
        )

    @routes.get("/{wamid:path}")
    async def account(person: AdminPerson, wamid: Wamid) -> LedgerView:
        """404 for what nothing names.

        It never came, was a reaction or an edit that is applied, or is in quarantine for a number
        that the tenant does not have.
        """
        found = await tracing.account(person.tenant, wamid)
        if found.state is None:
            raise not_found()
        return LedgerView.of(found.state, found)

    return routes
