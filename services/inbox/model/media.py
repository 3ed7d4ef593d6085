"""Files that agents send and customers sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.inbox.model.conversation import Media
from services.inbox.model.outgoing import StoredMedia


class Kind(StrEnum):
    """What WhatsApp's limits tell apart."""

    AUDIO = "audio"
    DOCUMENT = "document"
    IMAGE = "image"
    STICKER = "sticker"
    VIDEO = "video"


class Asked(StrEnum):
    """What an upload is to be, whatever its bytes are."""

    DOCUMENT = "document"
    VOICE = "voice"


@dataclass(frozen=True, slots=True)
class Upload:
    """An entry of the catalogue: a file that an agent handed in."""

    tenant: str
    uploader: str
    kind: Kind
    created_at: datetime
    file: StoredMedia


@dataclass(frozen=True, slots=True)
class Shown:
    """A file of a message, and the conversation that the message is in."""

    conversation_id: str
    media: Media
