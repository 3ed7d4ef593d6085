"""Commands on whatsapp.outbound.v1: what inbox asks delivery to do.

`message.send` (by `seq`) and `bot.notify` (by `version`) are in the order of their chat.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from shared.contracts.base import Payload, Time


class CommandType(StrEnum):
    """Types on whatsapp.outbound.v1."""

    MESSAGE_SEND = "message.send"
    MESSAGE_READ = "message.read"
    MEDIA_FETCH = "media.fetch"
    CONTACT_BLOCK = "contact.block"
    TEMPLATES_SYNC = "templates.sync"
    NUMBER_RESUME = "number.resume"
    BOT_NOTIFY = "bot.notify"


class Recipient(Payload):
    """Whom to send to. `to` is the phone with digits only, `user_id` the BSUID."""

    wa_id: str | None = None
    user_id: str | None = None
    group_id: str | None = None


class OutgoingMedia(Payload):
    """A stored file to upload before the send."""

    id: str
    mime_type: str
    sha256: str
    size: int
    filename: str | None = None
    voice: bool = False


class SendMessage(Payload):
    """`message.send`: one message, at most once.

    `message_id` goes into `biz_opaque_callback_data`. `type` and `body` are Meta's own: the
    request has `{"type": type, type: body}` (a list for `contacts`). With `media`, delivery puts
    the uploaded id into `body["id"]`. `reply_to_wamid` becomes `context.message_id`.
    `attempt_base` is above 0 for a resend that an agent asked for after `unknown` or `failed`.
    """

    message_id: str
    conversation_id: str
    number_id: str
    seq: int
    recipient: Recipient
    type: str
    body: dict[str, Any] | list[Any]
    queued_at: Time
    reply_to_wamid: str | None = None
    media: OutgoingMedia | None = None
    attempt_base: int = 0


class ReadMessage(Payload):
    """`message.read`: blue ticks up to this message; `typing` shows the indicator too."""

    conversation_id: str
    number_id: str
    wamid: str
    typing: bool = False


class FetchMedia(Payload):
    """`media.fetch`: download an incoming file. `sha256` is in Meta's spelling (base64 or hex)."""

    message_id: str
    conversation_id: str
    number_id: str
    whatsapp_media_id: str
    url: str | None = None
    mime_type: str | None = None
    sha256: str | None = None
    filename: str | None = None


class BlockContact(Payload):
    """`contact.block`: change Meta's own block list of a number.

    `contact_version` is the contact's version that wishes it: of one contact and number the highest
    counts, whichever chat or partition it comes by. 0: not told.
    """

    contact_id: str
    number_id: str
    recipient: Recipient
    blocked: bool
    contact_version: int = 0


class SyncTemplates(Payload):
    """`templates.sync`: read the templates of the number's WhatsApp Business Account now."""

    number_id: str


class ResumeNumber(Payload):
    """`number.resume`: send again from a stopped number, although nothing else says it may.

    `stopped_at` is the `at` of the `number.stopped` that is meant: a later stop stays.
    """

    number_id: str
    stopped_at: Time


class NotifyBot(Payload):
    """`bot.notify`: one event of a chat in status `bot`, or the one that ends it, for its bot.

    In the order of `version` within the chat, at least once. `type`, `at` and `data` are the
    event's own; the command's event id is `<conversation>:<version>:<position>`.
    """

    conversation_id: str
    number_id: str
    epoch: int
    version: int
    type: str
    at: Time
    data: dict[str, Any]


COMMANDS: dict[str, type[Payload]] = {
    CommandType.MESSAGE_SEND.value: SendMessage,
    CommandType.MESSAGE_READ.value: ReadMessage,
    CommandType.MEDIA_FETCH.value: FetchMedia,
    CommandType.CONTACT_BLOCK.value: BlockContact,
    CommandType.TEMPLATES_SYNC.value: SyncTemplates,
    CommandType.NUMBER_RESUME.value: ResumeNumber,
    CommandType.BOT_NOTIFY.value: NotifyBot,
}
