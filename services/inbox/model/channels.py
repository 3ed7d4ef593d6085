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


@dataclass(frozen=True, slots=True)
class Template:
    """A message template; `components` are Meta's own, `named`: its parameters have names."""

    id: str
    name: str
    language: str
    category: str
    status: str
    quality: str | None
    reason: str | None
    named: bool
    components: tuple[dict[str, Any], ...]
    waba_id: str = ""


@dataclass(frozen=True, slots=True)
class TemplateQuery:
    """Which templates of a tenant; None: whatever it is. `q` is a part of the name."""

    waba_id: str | None = None
    language: str | None = None
    category: str | None = None
    status: str | None = None
    q: str | None = None
