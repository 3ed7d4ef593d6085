"""One opening of a conversation, as reports count it: ids and times, no words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.inbox.model.conversation import Tenure
from services.inbox.model.events import ActorRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """`waiting`: the time On Hold altogether. An episode that goes on has no `closed_at`.

    `reason`: the id of the tenant's close reason, or a code of the system's own.
    """

    id: str
    tenant: str
    conversation: str
    number: int
    number_id: str
    contact: str
    team: str | None
    opened_at: datetime
    first_response_at: datetime | None
    waiting: timedelta
    holders: tuple[Tenure, ...]
    closed_at: datetime | None = None
    closed_by: ActorRef | None = None
    reason: str | None = None
