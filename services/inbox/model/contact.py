"""A WhatsApp user as one tenant sees them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from services.inbox.model.conversation import ContactSnapshot


@dataclass(frozen=True, slots=True)
class Contact:
    """The head of its own log. `merged_into`: another contact turned out to be the same user."""

    id: str
    tenant: str
    version: int
    created_at: datetime
    name: str | None = None
    wa_id: str | None = None
    user_id: str | None = None
    username: str | None = None
    group: bool = False
    blocked: bool = False
    labels: tuple[str, ...] = ()
    merged_into: str | None = None

    def snapshot(self) -> ContactSnapshot:
        return ContactSnapshot(
            id=self.id,
            name=self.name,
            wa_id=self.wa_id,
            user_id=self.user_id,
            username=self.username,
            blocked=self.blocked,
            labels=self.labels,
        )
