"""What a webhook is taken apart into."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shared.contracts.inbound import InboundType, QuarantineReason

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Number:
    """A number of the directory. `app_id` None: it belongs to the platform's own Meta app."""

    id: str
    tenant: str
    phone_number_id: str
    waba_id: str | None
    app_id: str | None


@dataclass(frozen=True, slots=True)
class Source:
    """Whose secret signed a body.

    `tenants` are those whose credentials hold that secret for `app_id`: a tenant that enters
    another one's app id with a secret of its own must not speak for the other's numbers. None on
    the platform's path, where the secret is ours.
    """

    app_id: str | None = None
    tenants: frozenset[str] | None = None


@dataclass(slots=True)  # frozen costs 2 us an item, for each of its members a call
class Item:
    """One element of a webhook.

    `party` is who it is about (`group:..`, `user:..`, `phone:..`), empty when that is not said.
    `identity` are the parts that a repeated post of the same fact shares; for a change it is
    completed with the hash of its content.
    """

    type: InboundType
    field: str
    item: Json
    contacts: list[Json]
    metadata: Json
    phone_number_id: str | None
    waba_id: str | None
    party: str
    identity: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reject:
    """One element, or what should have held elements, that was not understood."""

    reason: QuarantineReason
    phone_number_id: str | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """Every element of a webhook is in one of the two lists, in the webhook's order."""

    items: list[Item] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
