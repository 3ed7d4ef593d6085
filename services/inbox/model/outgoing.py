"""What an agent asks to send, before it is a message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

OutgoingType = Literal[
    "text",
    "image",
    "video",
    "audio",
    "document",
    "sticker",
    "location",
    "contacts",
    "interactive",
    "template",
    "reaction",
]


@dataclass(frozen=True, slots=True)
class MediaChoice:
    """A stored file to send; `filename` replaces its own name."""

    id: str
    filename: str | None = None
    voice: bool = False


@dataclass(frozen=True, slots=True)
class ReactionChoice:
    """`emoji` empty takes the reaction back."""

    message_id: str
    emoji: str


@dataclass(frozen=True, slots=True)
class OutgoingRequest:
    """As it was asked for: `type` says which member counts; shapes are Meta's own."""

    client_id: str
    type: OutgoingType
    text: str | None = None
    media: MediaChoice | None = None
    template: dict[str, Any] | None = None
    interactive: dict[str, Any] | None = None
    location: dict[str, Any] | None = None
    contacts: list[Any] | None = None
    reaction: ReactionChoice | None = None
    reply_to: str | None = None


@dataclass(frozen=True, slots=True)
class StoredMedia:
    """A file of the tenant in the blob store."""

    id: str
    mime_type: str
    size: int
    sha256: str
    filename: str | None = None
    width: int | None = None
    height: int | None = None
    duration_ms: int | None = None
    animated: bool = False
