"""A customer writes: the control API's `inbound` as an update for the webhook."""

import base64
import binascii
import hashlib
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from shared.testing import webhooks
from shared.testing.graph.model import Event, Json, Update
from shared.testing.graph.sending import digits
from shared.testing.graph.world import World
from shared.testing.webhooks import Customer, Number

_MEDIA = {
    "image": "image/jpeg",
    "video": "video/mp4",
    "audio": "audio/ogg; codecs=opus",
    "document": "application/pdf",
    "sticker": "image/webp",
}


class InboundError(ValueError):
    """The request describes no message that WhatsApp could deliver."""


class Inbound(BaseModel):
    """What a customer writes; without `from` and `user_id` it is the sample customer."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    phone_number_id: str = Number().phone_number_id
    from_: str | None = Field(default=None, alias="from")
    user_id: str | None = None
    """By default made from the phone, as every user has one; null leaves it out."""
    parent_user_id: str | None = None
    username: str | None = None
    name: str | None = None
    type: str = "text"
    text: str | None = None
    caption: str | None = None
    filename: str | None = None
    voice: bool | None = None
    mime_type: str | None = None
    data_base64: str | None = None
    """The bytes of the media; without it, a few bytes of no meaning."""
    media_id: str | None = None
    content: dict[str, Any] | list[Any] | None = None
    """The member named like the type, for any type."""
    reply_to: str | None = None
    context: dict[str, Any] | None = None
    referral: dict[str, Any] | None = None
    group_id: str | None = None
    id: str | None = None
    """A wamid; the same one again is Meta's duplicate."""
    timestamp: int | None = None
    wait: bool = False
    """Answer only when the receiver has answered."""


def build(world: World, inbound: Inbound) -> tuple[Update, Json]:
    """Return the update to deliver and what the control API answers about it."""
    customer = _customer(world, inbound)
    number = world.number(inbound.phone_number_id)
    if customer.identity in world.blocked.get(inbound.phone_number_id, {}):
        raise InboundError("this customer is blocked by the number")
    wamid = inbound.id or world.wamids.inbound(customer)
    context = inbound.context
    if inbound.reply_to is not None:
        context = {"from": number.number.display_phone_number, "id": inbound.reply_to}
    common: Json = {
        "timestamp": inbound.timestamp or int(world.clock()),
        "context": context,
        "referral": inbound.referral,
        "group_id": inbound.group_id,
    }
    answer: Json = {"wamid": wamid, "wa_id": customer.wa_id, "user_id": customer.user_id}
    if inbound.content is not None:
        item = webhooks.message(inbound.type, inbound.content, customer, wamid, **common)
    elif inbound.type in _MEDIA:
        item = _media(world, inbound, customer, wamid, common)
        answer["media_id"] = item[inbound.type]["id"]
    elif inbound.type == "text" and inbound.text:
        item = webhooks.text_message(inbound.text, customer, wamid, **common)
    elif inbound.type == "request_welcome":
        item = webhooks.message(inbound.type, None, customer, wamid, **common)
    else:
        raise InboundError("give text, or content for a type that is not media")
    world.heard(inbound.phone_number_id, customer)
    if world.switches.throughput:
        rate = number.per_second
        world.buckets.take(("number", inbound.phone_number_id), burst=rate, per_second=rate)
    update = Update(
        target=number.target,
        number_id=inbound.phone_number_id,
        member="messages",
        item=item,
        contact=customer.contact(),
        event=Event("message"),
    )
    return update, answer


def _customer(world: World, inbound: Inbound) -> Customer:
    phone = digits(inbound.from_) if inbound.from_ else None
    user_id = inbound.user_id
    if phone is None and user_id is None:
        phone, user_id = Customer().wa_id, Customer().user_id
    known = world.customers.get(phone or "") or world.customers.get(user_id or "")
    if user_id is None and "user_id" not in inbound.model_fields_set and phone:
        user_id = known.user_id if known else _bsuid(phone)
    return Customer(
        wa_id=phone,
        user_id=user_id,
        name=inbound.name or (known.name if known else None) or Customer().name,
        username=inbound.username or (known.username if known else None),
        parent_user_id=inbound.parent_user_id or (known.parent_user_id if known else None),
    )


def _bsuid(phone: str) -> str:
    if phone == Customer().wa_id:
        return Customer().user_id or ""
    return f"US.{int(hashlib.sha256(phone.encode()).hexdigest(), 16) % 10**20:020d}"


def _media(world: World, inbound: Inbound, customer: Customer, wamid: str, common: Json) -> Json:
    kind = inbound.type
    if inbound.media_id is not None:
        media = world.media.get(inbound.media_id)
        if media is None:
            raise InboundError("no media with this id")
    else:
        try:
            content = base64.b64decode(inbound.data_base64 or "", validate=True)
        except binascii.Error as error:
            raise InboundError("data_base64 is not base64") from error
        mime_type = inbound.mime_type or _MEDIA[kind]
        media = world.media.add(mime_type, content or b"sample media " + wamid.encode(), None)
    return webhooks.media_message(
        kind,
        media.id,
        customer,
        wamid,
        mime_type=media.mime_type,
        sha256=base64.b64encode(media.digest).decode(),
        url=world.media.url(media, world.settings.base_url, "webhook"),
        caption=inbound.caption or (inbound.text if kind not in ("audio", "sticker") else None),
        filename=(inbound.filename or "document.pdf") if kind == "document" else None,
        voice=(inbound.voice is not False) if kind == "audio" else None,
        animated=False if kind == "sticker" else None,
        **common,
    )
