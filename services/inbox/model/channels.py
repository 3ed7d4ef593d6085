"""What delivery tells of a number and its WhatsApp account."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class SendingState:
    """Whether messages go out of a number; `cause` is delivery's code, `error` WhatsApp's."""

    state: Literal["ok", "limited", "stopped"] = "ok"
    cause: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    error: dict[str, Any] | None = None
