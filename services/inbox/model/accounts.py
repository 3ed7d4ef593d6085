"""What Meta tells of accounts, numbers and templates, and of what contacts want."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class TemplateRef:
    """The template that is meant."""

    id: str | None
    name: str | None
    language: str | None


@dataclass(frozen=True, slots=True)
class AccountNews:
    """One of Meta's words on an account.

    `field` is the webhook's, `change` its own word for what happened (an event, a decision, a
    quality, a category, `stop` or `resume`), `details` the rest of what it said.
    """

    id: str
    tenant: str
    at: datetime
    field: str
    change: str | None
    waba_id: str | None
    number_id: str | None
    contact_id: str | None
    template: TemplateRef | None
    details: dict[str, Any]
