"""Webhooks as Meta sends them: builders of every shape, Meta's escaping, the signature, a driver.

The builders are pure and return plain dicts in Meta's member order; `Wamids(seed)` makes ids that
repeat from run to run. Shapes: the pages under
https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference.

    ids = Wamids(seed=1)
    ana = Customer()
    body = encode(webhook(messages_change(Number(), [text_message("hi", ana, ids.inbound(ana))], [ana])))
    headers = signed_headers(body, "app-secret")
"""

import asyncio
import base64
import hashlib
import hmac
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

SIGNATURE_HEADER = "X-Hub-Signature-256"
MAX_UPDATES = 1000  # per webhook, Meta's documented bound
ERRORS_HREF = "/documentation/business-messaging/whatsapp/support/error-codes"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Number:
    """A business number as `metadata` and `entry[].id` name it."""

    phone_number_id: str = "200000000000001"
    display_phone_number: str = "12025550100"
    waba_id: str = "100000000000001"

    def metadata(self) -> Json:
        return {
            "display_phone_number": self.display_phone_number,
            "phone_number_id": self.phone_number_id,
        }


@dataclass(frozen=True, slots=True)
class Customer:
    """A WhatsApp user. Without `wa_id` the phone is hidden; without `user_id` it is pre-2026."""

    wa_id: str | None = "12025550111"
    user_id: str | None = "US.90000000000000000001"
    name: str | None = "Ana Example"
    username: str | None = None
    parent_user_id: str | None = None

    def contact(self) -> Json:
        """Return the member of `contacts[]`."""
        profile = _present(name=self.name, username=self.username)
        return _present(
            profile=profile or None,
            wa_id=self.wa_id,
            user_id=self.user_id,
            parent_user_id=self.parent_user_id,
        )

    @property
    def identity(self) -> str:
        """What Meta writes into the ids of this user's messages."""
        return self.wa_id or self.user_id or ""


def customers(count: int, *, seed: int = 0, hidden_ratio: float = 0.0) -> list[Customer]:
    """Return `count` different users; `hidden_ratio` of them show no phone, only a username."""
    rng = random.Random(seed)
    found: list[Customer] = []
    for n in range(count):
        hidden = rng.random() < hidden_ratio
        found.append(
            Customer(
                wa_id=None if hidden else f"1202{5550000 + n:07d}",
                user_id=f"US.{90000000000000000001 + seed * 10**9 + n}",
                name=f"Customer {n}",
                username=f"customer.{n}" if hidden else None,
            )
        )
    return found


# --- ids -----------------------------------------------------------------------------------------


def wamid(identity: str, token: str, *, inbound: bool) -> str:
    """Return a message id in Meta's layout.

    It is base64 of a Thrift compact struct that holds the user's phone number in clear and a token
    (18 hex digits outgoing, 20 incoming). The layout for users without a phone is not known:
    theirs holds the BSUID in the same place.
    """
    user, unique = identity.encode(), token.encode()
    head = b"\x1c\x18" + bytes([len(user)]) + user + b"\x15\x02\x00"
    tail = (b"\x12\x18" if inbound else b"\x11\x18") + bytes([len(unique)]) + unique + b"\x00"
    return "wamid." + base64.b64encode(head + tail).decode()


class Wamids:
    """Message ids, unique per generator and the same for the same seed."""

    def __init__(self, seed: int = 0) -> None:
        self._salt = f"{random.Random(seed).getrandbits(32):08X}"
        self._count = 0

    def inbound(self, customer: Customer) -> str:
        return wamid(customer.identity, f"3A{self._next()}", inbound=True)

    def outbound(self, identity: str) -> str:
        return wamid(identity, self._next(), inbound=False)

    def _next(self) -> str:
        self._count += 1
        return f"{self._salt}{self._count:010X}"


# --- messages[] ----------------------------------------------------------------------------------


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
    built = _present(
        context=context,
        **{"from": customer.wa_id},
        group_id=group_id,
        id=message_id,
        timestamp=str(timestamp),
        type=kind,
    )
    if content is not None:
        built[kind] = content
    built |= _present(
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
    content = _present(
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
    place = {key: common.pop(key) for key in ("name", "address", "url") if key in common}
    content = {"latitude": latitude, "longitude": longitude, **place}
    return message("location", content, customer, message_id, **common)


def contacts_message(cards: list[Json], customer: Customer, message_id: str, **common: Any) -> Json:
    return message("contacts", cards, customer, message_id, **common)


def reaction_message(
    target: str, emoji: str | None, customer: Customer, message_id: str, **common: Any
) -> Json:
    """Return a reaction to `target`; `emoji` None is a removal, which leaves the member out."""
    content = _present(message_id=target, emoji=emoji)
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
    row = _present(id=row_id, title=title, description=description)
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
    content = _present(body=body, wa_id=wa_id, user_id=user_id, type=kind)
    return message("system", content, customer, message_id, **common)


# --- statuses[] ----------------------------------------------------------------------------------


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
    return _present(
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
    return _present(
        code=code,
        title=title,
        message=title,
        error_data={"details": details} if details else None,
        href=ERRORS_HREF,
    )


# --- the envelope --------------------------------------------------------------------------------


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
        **_present(
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


# --- bytes and signature -------------------------------------------------------------------------

# Structural JSON has none of these, so replacing them in the whole document is exact.
_ESCAPES = ((b"/", rb"\/"), (b"<", rb"\u003C"), (b"%", rb"\u0025"), (b"@", rb"\u0040"))
_NON_ASCII = re.compile(r"[^\x00-\x7f]+")


def encode(payload: object) -> bytes:
    r"""Return the body as Meta puts it on the wire.

    ASCII only: `\uXXXX` with lower-case hex (surrogate pairs above the BMP), `/` as `\/`, and
    `<`, `%`, `@` as `\u003C`, `\u0025`, `\u0040`.
    """
    body = orjson.dumps(payload)
    if not body.isascii():
        body = _NON_ASCII.sub(_escape_units, body.decode()).encode()
    for plain, escaped in _ESCAPES:
        body = body.replace(plain, escaped)
    return body


def _escape_units(match: re.Match[str]) -> str:
    units = match.group().encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def sign(body: bytes, secret: str) -> str:
    """Return the value of `X-Hub-Signature-256` for the raw bytes."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def signed_headers(body: bytes, secret: str) -> dict[str, str]:
    return {"Content-Type": "application/json", SIGNATURE_HEADER: sign(body, secret)}


def _present(**members: Any) -> Json:
    return {name: member for name, member in members.items() if member is not None}


# --- the driver ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a driver delivers: what goes wrong, how often, and for how long it retries."""

    concurrency: int = 8
    duplicate_ratio: float = 0.0
    shuffle: bool = False
    attempts: int = 12
    backoff_s: float = 0.1
    backoff_max_s: float = 5.0
    timeout_s: float = 10.0


@dataclass(slots=True)
class Tally:
    """What happened: answers by status (0 = no answer), and how the webhooks ended."""

    answers: Counter[int] = field(default_factory=Counter)
    delivered: int = 0
    duplicated: int = 0
    retried: int = 0
    given_up: int = 0


class WebhookDriver:
    """Posts webhooks as Meta does: signed, concurrently, each until it is answered 200."""

    def __init__(
        self, url: str, secret: str, *, delivery: Delivery | None = None, seed: int = 0
    ) -> None:
        self._url = url
        self._secret = secret
        self._delivery = delivery or Delivery()
        self._random = random.Random(seed)
        self._session: aiohttp.ClientSession | None = None
        self.tally = Tally()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._delivery.timeout_s),
            connector=aiohttp.TCPConnector(limit=0),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, payload: Json | bytes) -> int:
        """Post once; return the HTTP status, or 0 when there was no answer."""
        if self._session is None:
            raise RuntimeError("a WebhookDriver is used inside `async with`")
        body = payload if isinstance(payload, bytes) else encode(payload)
        try:
            headers = signed_headers(body, self._secret)
            async with self._session.post(self._url, data=body, headers=headers) as answer:
                await answer.read()
                code = answer.status
        except (aiohttp.ClientError, TimeoutError):
            code = 0
        self.tally.answers[code] += 1
        return code

    async def deliver(self, webhooks: Iterable[Json | bytes]) -> Tally:
        """Deliver all, each until 200 or out of attempts; return the running tally."""
        delivery = self._delivery
        bodies = [one if isinstance(one, bytes) else encode(one) for one in webhooks]
        copies = [body for body in bodies if self._random.random() < delivery.duplicate_ratio]
        self.tally.duplicated += len(copies)
        bodies += copies
        if delivery.shuffle:
            self._random.shuffle(bodies)
        waiting = iter(bodies)

        async def worker() -> None:
            for body in waiting:
                await self._deliver_one(body)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(delivery.concurrency, len(bodies))):
                group.create_task(worker())
        return self.tally

    async def _deliver_one(self, body: bytes) -> None:
        delivery = self._delivery
        for attempt in range(delivery.attempts):
            if await self.post(body) == 200:
                self.tally.delivered += 1
                return
            self.tally.retried += 1
            wait = min(delivery.backoff_max_s, delivery.backoff_s * 2**attempt)
            await asyncio.sleep(wait * self._random.uniform(0.5, 1.0))
        self.tally.given_up += 1
