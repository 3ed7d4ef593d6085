"""What a tenant words for its agents once: why chats are closed, and replies to send again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueItem:
    """What all items have. `version` rises with each change."""

    id: str
    tenant: str
    name: str
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseReason(CatalogueItem):
    """Why a chat was closed: what reports count by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CannedReply(CatalogueItem):
    """A text to send again and again; `{{contact.name}}` and the like stand for what differs."""

    text: str
    shortcut: str | None = None
