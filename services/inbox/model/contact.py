"""A WhatsApp user as one tenant sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from services.inbox.model.conversation import ContactSnapshot

ATTRIBUTES_KEPT = 50
FORMER_KEPT = 20


@dataclass(frozen=True, slots=True)
class ContactCard:
    """What agents write of a contact: members to change. None leaves the notes, "" clears them.

    An attribute that is None goes.
    """

    attributes: Mapping[str, str | None] = field(default_factory=dict)
    notes: str | None = None

    def merged(self, attributes: Mapping[str, str]) -> dict[str, str]:
        """The attributes after it."""
        after = {**attributes, **self.attributes}
        return {name: value for name, value in after.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Contact:
    """The head of its own log. `merged_into`: another contact turned out to be the same user.

    `same_as` are the contacts that were merged into this one; their chats are this one's.
    `former` are phones and BSUIDs that Meta said were left for others, the last time at `moved_at`.
    """

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
    blocked_at: datetime | None = None
    labels: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    notes: str | None = None
    merged_into: str | None = None
    same_as: tuple[str, ...] = ()
    moved_at: datetime | None = None
    former: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        """Whose chats are this contact's."""
        return (self.id, *self.same_as)

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
