"""Keys with which programs call the API."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Scope(StrEnum):
    """What a key may be used for."""

    BOT = "bot"
    """The chats in status bot of its numbers: read, send, label, hand off."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is kept: of the text itself only a hash."""

    id: str
    tenant: str
    name: str
    scopes: frozenset[Scope]
    number_ids: frozenset[str]
    created_at: datetime
    created_by: str
