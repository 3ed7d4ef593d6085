"""Builders of `messages[]`, `statuses[]` and the envelope around them."""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from shared.testing.webhooks.ids import Customer, Json, Number, present

ERRORS_HREF = "/documentation/business-messaging/whatsapp/support/error-codes"


def message(
    kind: str,
    content: object,
    customer: Customer,
    message_id: str,
    *,
    timestamp: int = 1780000000,
    reply_to: str | None = None,
    context: Json | None = None,
    referral: Json | None = None,
    group_id: str | None = None,
    errors: list[Json] | None = None,
) -> Json:
    """Return a member of `messages[]` of any type; `content` None leaves the type's member out."""
    if reply_to is not None:
        context = {"from": Number().display_phone_number, "id": reply_to}
    built = present(
        context=context,
        **{"from": customer.wa_id},
        group_id=group_id,
        id=message_id,
        timestamp=str(timestamp),
        type=kind,
    )
    if content is not None:
        built[kind] = content
    built |= present(
        errors=errors,
        referral=referral,
        from_user_id=customer.user_id,
        from_parent_user_id=customer.parent_user_id,
    )
    return built


def text_message(body: str, customer: Customer, message_id: str, **common: Any) -> Json:
    return message("text", {"body": body}, customer, message_id, **common)


def media_message(
    kind: str,
    media_id: str,
    customer: Customer,
    message_id: str,
    *,
    mime_type: str,
    sha256: str,
    url: str | None = None,
    caption: str | None = None,
    filename: str | None = None,
    voice: bool | None = None,
    animated: bool | None = None,
    **common: Any,
) -> Json:
    """Return an image, video, audio, document or sticker message; `sha256` is base64, as sent."""
    content = present(
        caption=caption,
        filename=filename,
        mime_type=mime_type,
        sha256=sha256,
        id=media_id,
        url=url,
        voice=voice,
        animated=animated,
    )
    return message(kind, content, customer, message_id, **common)


def location_message(
    latitude: float, longitude: float, customer: Customer, message_id: str, **common: Any
) -> Json:
    place: Json = {key: common.pop(key) for key in ("name", "address", "url") if key in common}
    content = {"latitude": latitude, "longitude": longitude, **place}
    return message("location", content, customer, message_id, **common)


def contacts_message(cards: list[Json], customer: Customer, message_id: str, **common: Any) -> Json:
    return message("contacts", cards, customer, message_id, **common)


def reaction_message(
    target: str, emoji: str | None, customer: Customer, message_id: str, **common: Any
) -> Json:
    """Return a reaction to `target`; `emoji` None is a removal, which leaves the member out."""
    content = present(message_id=target, emoji=emoji)
    return message("reaction", content, customer, message_id, **common)


def button_message(
    payload: str, text: str, customer: Customer, message_id: str, **common: Any
) -> Json:
    return message("button", {"payload": payload, "text": text}, customer, message_id, **common)


def button_reply_message(
    button_id: str, title: str, customer: Customer, message_id: str, **common: Any
) -> Json:
    content = {"type": "button_reply", "button_reply": {"id": button_id, "title": title}}
    return message("interactive", content, customer, message_id, **common)


def list_reply_message(
    row_id: str,
    title: str,
    customer: Customer,
    message_id: str,
    *,
    description: str | None = None,
    **common: Any,
) -> Json:
    row = present(id=row_id, title=title, description=description)
    content = {"type": "list_reply", "list_reply": row}
    return message("interactive", content, customer, message_id, **common)


def flow_reply_message(response: Json, customer: Customer, message_id: str, **common: Any) -> Json:
    """Return the answer to a Flow; Meta sends `response_json` as a string."""
    reply = {"name": "flow", "body": "Sent", "response_json": orjson.dumps(response).decode()}
    content = {"type": "nfm_reply", "nfm_reply": reply}
    return message("interactive", content, customer, message_id, **common)


def order_message(
    items: list[Json], customer: Customer, message_id: str, *, text: str = "", **common: Any
) -> Json:
    content = {"catalog_id": "400000000000001", "text": text, "product_items": items}
    return message("order", content, customer, message_id, **common)


def unsupported_message(
    raw_type: str, customer: Customer, message_id: str, *, code: int = 131051, **common: Any
) -> Json:
    error = {
        "code": code,
        "title": "Message type unknown",
        "message": "Message type unknown",
        "error_data": {"details": "Message type is currently not supported."},
    }
    content = {"type": raw_type}
    return message("unsupported", content, customer, message_id, errors=[error], **common)


def edit_message(
    original: str, body: str, customer: Customer, message_id: str, **common: Any
) -> Json:
    """Return an edit of a text (coexistence numbers only)."""
    edited = {"context": {"id": "M0"}, "type": "text", "text": {"body": body}}
    content = {"original_message_id": original, "message": edited}
    return message("edit", content, customer, message_id, **common)


def revoke_message(original: str, customer: Customer, message_id: str, **common: Any) -> Json:
    """Return a deletion for everyone (coexistence numbers only)."""
    content = {"original_message_id": original}
    return message("revoke", content, customer, message_id, **common)


def system_message(
    kind: str,
    body: str,
    customer: Customer,
    message_id: str,
    *,
    wa_id: str | None = None,
    user_id: str | None = None,
    **common: Any,
) -> Json:
    """Return a `system` message, such as `user_changed_number` with the new `wa_id`."""
    content = present(body=body, wa_id=wa_id, user_id=user_id, type=kind)
    return message("system", content, customer, message_id, **common)


def pricing(kind: str = "regular", category: str = "service", *, billable: bool = True) -> Json:
    return {"billable": billable, "pricing_model": "PMP", "type": kind, "category": category}


def status(
    name: str,
    message_id: str,
    *,
    timestamp: int = 1780000000,
    recipient_id: str | None = None,
    recipient_user_id: str | None = None,
    recipient_parent_user_id: str | None = None,
    recipient_type: str | None = None,
    recipient_participant_id: str | None = None,
    callback_data: str | None = None,
    price: Json | None = None,
    errors: list[Json] | None = None,
) -> Json:
    """Return a member of `statuses[]`: sent, delivered, read, played or failed."""
    return present(
        id=message_id,
        status=name,
        timestamp=str(timestamp),
        recipient_id=recipient_id,
        recipient_user_id=recipient_user_id,
        recipient_parent_user_id=recipient_parent_user_id,
        recipient_type=recipient_type,
        recipient_participant_id=recipient_participant_id,
        biz_opaque_callback_data=callback_data,
        pricing=price,
        errors=errors,
    )


def status_error(code: int, title: str, details: str | None = None) -> Json:
    """Return a member of `statuses[].errors`."""
    return present(
        code=code,
        title=title,
        message=title,
        error_data={"details": details} if details else None,
        href=ERRORS_HREF,
    )


def value(
    number: Number,
    *,
    contacts: Iterable[Customer] = (),
    messages: Sequence[Json] = (),
    statuses: Sequence[Json] = (),
    errors: Sequence[Json] = (),
) -> Json:
    """Return `changes[].value` of the field `messages`; empty arrays are left out."""
    unique = {id_: customer for customer in contacts if (id_ := customer.identity)}
    return {
        "messaging_product": "whatsapp",
        "metadata": number.metadata(),
        **present(
            contacts=[customer.contact() for customer in unique.values()] or None,
            messages=list(messages) or None,
            statuses=list(statuses) or None,
            errors=list(errors) or None,
        ),
    }


def change(value: Json, field: str = "messages") -> Json:
    return {"value": value, "field": field}


def messages_change(
    number: Number, messages: Sequence[Json], contacts: Iterable[Customer] = ()
) -> Json:
    return change(value(number, contacts=contacts, messages=messages))


def statuses_change(
    number: Number, statuses: Sequence[Json], contacts: Iterable[Customer] = ()
) -> Json:
    return change(value(number, contacts=contacts, statuses=statuses))


def webhook(*changes: Json, waba_id: str = "100000000000001") -> Json:
    """Return one webhook of one WABA."""
    return {
        "object": "whatsapp_business_account",
        "entry": [{"id": waba_id, "changes": list(changes)}],
    }


def merged(webhooks: Iterable[Json]) -> Json:
    """Return one webhook with the entries of all, as Meta batches several WABAs."""
    entries = [entry for one in webhooks for entry in one["entry"]]
    return {"object": "whatsapp_business_account", "entry": entries}
