"""Who did what to the tenant's settings, people and chats; and who is doing it now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class AuditActor:
    """`kind` is agent, api_key, platform, system, or anonymous (a sign-in that failed)."""

    kind: str
    id: str | None = None


SYSTEM_ACTOR = AuditActor("system")
PLATFORM_ACTOR = AuditActor("platform")
ANONYMOUS_ACTOR = AuditActor("anonymous")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One line of the trail. `before` and `after` hold the members that differ.

    `secrets` names what changed and is never shown. `action` is `<kind>.<past verb>`.
    """

    id: str
    tenant: str
    at: datetime
    actor: AuditActor
    action: str
    target: tuple[str, str]
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()


_acting: ContextVar[AuditActor] = ContextVar("acting", default=SYSTEM_ACTOR)


def actor_now() -> AuditActor:
    """On whose behalf this task runs; `system` for what nobody asked for."""
    return _acting.get()


def act_as(actor: AuditActor) -> None:
    """For the rest of this task: the request is theirs."""
    _acting.set(actor)


@contextmanager
def acting(actor: AuditActor) -> Iterator[None]:
    """For what is inside."""
    token = _acting.set(actor)
    try:
        yield
    finally:
        _acting.reset(token)
