"""The JSON that Graph wants. Source: the Cloud API reference, "Send messages", v25.0."""

from __future__ import annotations

from typing import Any

from services.delivery.model import Recipient, SendRecord

Json = dict[str, Any]

_NO_CONTEXT = frozenset({"reaction"})  # "cannot be a contextual reply"


class UnsendableError(Exception):
    """The record cannot become a request; `reason` is a stable code."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def address(recipient: Recipient) -> Json:
    """`recipient_type` with `to`, or `recipient` for a user known by BSUID alone.

    The phone goes with `+`: without it Meta prepends the business number's own country code.
    Raises UnsendableError.
    """
    if recipient.group_id:
        return {"recipient_type": "group", "to": recipient.group_id}
    phone = _phone(recipient)
    if phone is not None:
        return {"recipient_type": "individual", "to": phone}
    if recipient.user_id:
        return {"recipient_type": "individual", "recipient": recipient.user_id}
    raise UnsendableError("no_recipient")


def message_body(record: SendRecord, content: Json, uploaded_id: str | None) -> Json:
    """The body of `POST /messages` for one record.

    `content` is Meta's own object of the type; `uploaded_id` the media id that goes into it.
    Raises UnsendableError.
    """
    media = record.media
    if media is not None:
        content = {**content, "id": uploaded_id}
        if record.type == "document" and media.filename and "filename" not in content:
            content["filename"] = media.filename
        if record.type == "audio" and media.voice:
            content["voice"] = True
    body: Json = {
        "messaging_product": "whatsapp",
        **address(record.recipient),
        "type": record.type,
        record.type: content,
        "biz_opaque_callback_data": record.message_id,
    }
    if record.reply_to and record.type not in _NO_CONTEXT:
        body["context"] = {"message_id": record.reply_to}
    return body


def read_body(wamid: str, *, typing: bool) -> Json:
    """Blue ticks up to this message, and the typing indicator when asked."""
    body: Json = {"messaging_product": "whatsapp", "status": "read", "message_id": wamid}
    if typing:
        body["typing_indicator"] = {"type": "text"}
    return body


def block_body(recipient: Recipient) -> Json:
    """One user of a block list: by phone with `+`, else by BSUID. Raises UnsendableError."""
    phone = _phone(recipient)
    if phone is not None:
        return {"messaging_product": "whatsapp", "block_users": [{"user": phone}]}
    if recipient.user_id:
        return {"messaging_product": "whatsapp", "block_users": [{"user_id": recipient.user_id}]}
    raise UnsendableError("no_recipient")


def _phone(recipient: Recipient) -> str | None:
    digits = "".join(c for c in recipient.wa_id or "" if c in "0123456789")
    return f"+{digits}" if digits else None
