"""From the bytes of a webhook to its items: pure, and never an exception for what Meta may send.

Shapes: https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import orjson

from services.ingest.model import Item, Json, Number, Reject, Source, Split
from shared.contracts.inbound import InboundType, QuarantineReason
from shared.contracts.phones import is_same_phone

OBJECT = "whatsapp_business_account"
MESSAGES = "messages"
_ECHOES = (("message_echoes", InboundType.ECHO), ("errors", InboundType.CHANGE))
ARRAYS: dict[str, tuple[tuple[str, InboundType], ...]] = {
    MESSAGES: (("messages", InboundType.MESSAGE), ("statuses", InboundType.STATUS), *_ECHOES),
    "smb_message_echoes": _ECHOES,
    "message_echoes": _ECHOES,
}
"""What to look for in the fields that are more than a change."""
# What stands around the elements in a value, and says nothing by itself.
SURROUNDINGS = frozenset({"messaging_product", "metadata", "contacts"})
MAX_DEPTH = 64
"""Nesting that an item may have: MongoDB takes 100 levels, and documents wrap the item."""


class UnreadableError(Exception):
    """The bytes are not JSON, even with a tolerant reader."""


# --- bytes to JSON -------------------------------------------------------------------------------

# Every escape is consumed, so that the `u` behind an escaped backslash is not taken for one.
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_LONGEST_SAFE_INT = 18  # digits that always fit into 64 bits


def read_json(body: bytes) -> object:
    r"""The JSON of a body. Raises UnreadableError.

    orjson first. What it refuses and Meta can send is read the slow way: half of a surrogate pair
    (a text cut inside an emoji arrives as a lone `\ud83d`) becomes U+FFFD, a number beyond 64 bits
    or beyond a double keeps its digits as text, a byte order mark is skipped. NaN is not JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        text = _ESCAPE.sub(_whole, body.decode("utf-8-sig"))
        return json.loads(
            text, parse_int=_integer, parse_float=_float, parse_constant=_not_a_number
        )
    except (ValueError, RecursionError) as bad:
        raise UnreadableError from bad


def _whole(escape: re.Match[str]) -> str:
    return "\\ufffd" if escape["lone"] else escape[0]


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _LONGEST_SAFE_INT else digits


def _float(text: str) -> float | str:
    number = float(text)
    return text if number in (float("inf"), float("-inf")) else number


def _not_a_number(name: str) -> object:
    raise ValueError(name)


def is_too_deep(value: object, limit: int = MAX_DEPTH) -> bool:
    """Whether arrays and objects nest deeper than the limit."""
    level: list[Any] = [value]
    for _ in range(limit + 1):
        level = [
            child
            for one in level
            if isinstance(one, dict | list)
            for child in (one.values() if isinstance(one, dict) else one)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


# --- JSON to items -------------------------------------------------------------------------------


def split(payload: object) -> Split:
    """Every element of a webhook as an item, or as a reject if it is not understood."""
    out = Split()
    if not isinstance(payload, dict):
        out.rejects.append(Reject(QuarantineReason.NOT_WHATSAPP))
        return out
    entries = payload.get("entry")
    named = payload.get("object")
    if named != OBJECT and (named is not None or not isinstance(entries, list)):
        out.rejects.append(Reject(QuarantineReason.NOT_WHATSAPP))
        return out
    if not isinstance(entries, list) or not entries:
        out.rejects.append(Reject(QuarantineReason.UNEXPECTED_SHAPE))
        return out
    for entry in entries:
        _split_entry(entry, out)
    return out


def _split_entry(entry: object, out: Split) -> None:
    if not isinstance(entry, dict):
        out.rejects.append(Reject(QuarantineReason.UNEXPECTED_SHAPE))
        return
    changes = entry.get("changes")
    if changes is None and "value" in entry:
        changes = [entry]  # Meta's own examples print field and value one level too high
    if not isinstance(changes, list) or not changes:
        out.rejects.append(Reject(QuarantineReason.UNEXPECTED_SHAPE))
        return
    for change in changes:
        value = change.get("value") if isinstance(change, dict) else None
        if not isinstance(value, dict):
            out.rejects.append(Reject(QuarantineReason.UNEXPECTED_SHAPE))
            continue
        field = _text(change.get("field")) or _text(entry.get("field")) or MESSAGES
        _Value(field, value, entry).split(out)


def _text(value: object) -> str | None:
    # Meta sends an absent member as an empty string too (until February 2026, seen later).
    return value if isinstance(value, str) and value else None


def _number_text(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _text(value)


_NOT_SOUGHT: Json = {}


class _Value:
    """One `changes[].value` with what its elements share."""

    __slots__ = (
        "contacts",
        "entry",
        "field",
        "lone",
        "metadata",
        "phone_number_id",
        "value",
        "waba_id",
    )

    def __init__(self, field: str, value: Json, entry: Json) -> None:
        self.field = field
        self.value = value
        self.entry = entry
        metadata = value.get("metadata")
        self.metadata: Json = metadata if isinstance(metadata, dict) else {}
        self.phone_number_id = _number_text(self.metadata.get("phone_number_id"))
        self.waba_id = _number_text(entry.get("id"))
        self.contacts: dict[str, list[Json]] = {}
        self.lone: Json | None = _NOT_SOUGHT
        contacts = value.get("contacts")
        if contacts and isinstance(contacts, list):
            self._index(contacts)

    def _index(self, contacts: Iterable[object]) -> None:
        # Not parallel to messages[]: matched by what both sides say of the user.
        for contact in contacts:
            if isinstance(contact, dict):
                for name in ("wa_id", "user_id"):
                    known_as = _text(contact.get(name))
                    if known_as is not None:
                        self.contacts.setdefault(known_as, []).append(contact)

    def split(self, out: Split) -> None:
        before = len(out.items) + len(out.rejects)
        arrays = ARRAYS.get(self.field)
        if arrays is None:
            arrays = tuple((name, InboundType.CHANGE) for name in self._arrays())
        for name, kind in arrays:
            elements = self.value.get(name)
            if elements is not None:
                self._each(elements, kind, out)
        if len(out.items) + len(out.rejects) == before:
            out.items.append(self._change(self.value))

    def _arrays(self) -> list[str]:
        # Elements are taken apart only if the value says nothing else: account_update has an
        # array too, but its `event` stands beside it.
        names = [name for name in self.value if name not in SURROUNDINGS]
        if all(isinstance(self.value[name], list) for name in names):
            return names
        return []

    def _each(self, elements: object, kind: InboundType, out: Split) -> None:
        if not isinstance(elements, list):
            out.rejects.append(Reject(QuarantineReason.UNEXPECTED_SHAPE, self.phone_number_id))
            return
        for element in elements:
            if not isinstance(element, dict):
                out.rejects.append(Reject(QuarantineReason.UNEXPECTED_SHAPE, self.phone_number_id))
            elif kind is InboundType.CHANGE:
                out.items.append(self._change(element))
            elif _text(element.get("id")) is None:
                out.rejects.append(Reject(QuarantineReason.NO_MESSAGE_ID, self.phone_number_id))
            elif kind is InboundType.STATUS:
                out.items.append(self._status(element))
            else:
                out.items.append(self._message(element, kind))

    def _message(self, element: Json, kind: InboundType) -> Item:
        if kind is InboundType.ECHO:
            user, phone = _text(element.get("to_user_id")), _text(element.get("to"))
        else:
            user, phone = _text(element.get("from_user_id")), _text(element.get("from"))
        contacts = self._belonging(user, phone) or self._only_one(element, user, phone)
        group = _text(element.get("group_id"))
        return self._item(
            kind,
            element,
            contacts,
            f"group:{group}" if group else _party(user, phone, contacts),
            (kind.value, element["id"]),
        )

    def _status(self, element: Json) -> Item:
        user, phone = _text(element.get("recipient_user_id")), _text(element.get("recipient_id"))
        participant = (
            _text(element.get("recipient_participant_user_id")),
            _text(element.get("recipient_participant_id"))
            # Meta's own examples spell it this way round as well.
            or _text(element.get("participant_recipient_id")),
        )
        if element.get("recipient_type") == "group" and phone:
            contacts = self._belonging(*participant)
            party = f"group:{phone}"
        else:
            contacts = self._belonging(user, phone)
            party = _party(user, phone, contacts)
        identity = (
            InboundType.STATUS.value,
            element["id"],
            _number_text(element.get("status")) or "",
            _number_text(element.get("timestamp")) or "",
            participant[0] or participant[1] or user or phone or "",
        )
        return self._item(InboundType.STATUS, element, contacts, party, identity)

    def _change(self, element: Json) -> Item:
        user = _text(element.get("from_user_id")) or _user_id(element.get("user_id"))
        phone = _text(element.get("wa_id")) or _text(element.get("from"))
        if element.get("direction") == "BUSINESS_INITIATED":  # a call of ours: the user is `to`
            user = _text(element.get("to_user_id"))
            phone = _text(element.get("to"))
        contacts = self._belonging(user, phone) if element is not self.value else []
        group = _text(element.get("group_id"))
        identity = (
            InboundType.CHANGE.value,
            self.field,
            _number_text(self.entry.get("time")) or "",
        )
        party = f"group:{group}" if group else _party(user, phone, contacts)
        return self._item(InboundType.CHANGE, element, contacts, party, identity)

    def _belonging(self, *known_as: str | None) -> list[Json]:
        found: list[Json] = []
        if self.contacts:
            for one in known_as:
                if one is not None:
                    for contact in self.contacts.get(one, ()):
                        if not found or all(contact is not other for other in found):
                            found.append(contact)
        return found

    def _only_one(self, element: Json, user: str | None, phone: str | None) -> list[Json]:
        """The contact of a message that shows nothing of it, where it can be no other's.

        It is alone, everything here is of one sender, and neither contradicts the other: else
        somebody known by their contact alone would be nobody, or two.
        """
        if self.lone is _NOT_SOUGHT:
            self.lone = self._sought()
        contact = self.lone
        if contact is None or element.get("type") == "system":
            return []
        own_user, own_phone = _text(contact.get("user_id")), _text(contact.get("wa_id"))
        if user is not None and own_user is not None:
            return []  # they were compared
        if phone is not None and own_phone is not None and not is_same_phone(phone, own_phone):
            return []
        return [contact]

    def _sought(self) -> Json | None:
        """The only contact of a value with one sender. Once: a body can have 100,000 messages."""
        contacts = _elements(self.value, "contacts")
        if len(contacts) != 1:
            return None
        senders = {
            (_text(one.get("from_user_id")), _text(one.get("from")))
            for one in _elements(self.value, "messages")
            if one.get("type") != "system"
        } | {
            (_text(one.get("to_user_id")), _text(one.get("to")))
            for one in _elements(self.value, "message_echoes")
        }
        return contacts[0] if len(senders) == 1 else None

    def _item(
        self,
        kind: InboundType,
        element: Json,
        contacts: list[Json],
        party: str,
        identity: tuple[str, ...],
    ) -> Item:
        return Item(
            kind,
            self.field,
            element,
            contacts,
            self.metadata,
            self.phone_number_id,
            self.waba_id,
            party,
            identity,
        )


def _elements(value: Json, name: str) -> list[Json]:
    array = value.get(name)
    return [one for one in array if isinstance(one, dict)] if isinstance(array, list) else []


def _party(user: str | None, phone: str | None, contacts: list[Json]) -> str:
    # A status often names the phone alone where the message named the BSUID: one of the contacts
    # beside it can bring both into the same partition.
    if user is None:
        user = next((own for one in contacts if (own := _text(one.get("user_id")))), None)
    if user is not None:
        return f"user:{user}"
    return f"phone:{phone}" if phone else ""


def _user_id(value: object) -> str | None:
    # In user_id_update it is {previous, current}: behind what came under the previous one.
    return _text(value.get("previous")) if isinstance(value, dict) else _text(value)


# --- whose item is it ----------------------------------------------------------------------------


def admit(number: Number | None, source: Source) -> Number | QuarantineReason:
    """The number that an item is for, or why it may not be taken for it."""
    if number is None:
        return QuarantineReason.UNKNOWN_NUMBER
    if number.app_id != source.app_id:
        return QuarantineReason.WRONG_APP
    if source.tenants is not None and number.tenant not in source.tenants:
        return QuarantineReason.WRONG_APP
    return number


# --- what waits in quarantine --------------------------------------------------------------------


class Waiting:
    """Which unknown numbers wait in one partition of the quarantine, and between which offsets.

    The topic is the truth: a record adds, a mark (`up_to`) removes. Reading any part of it twice
    changes nothing, so a rebalance or a restart may read from an older place.
    """

    def __init__(self) -> None:
        self._spans: dict[str, tuple[int, int]] = {}
        self._done: dict[str, set[int]] = {}

    def add(self, phone_number_id: str, offset: int) -> None:
        """A record of an unknown number lies at this offset."""
        first, last = self._spans.get(phone_number_id, (offset, offset))
        self._spans[phone_number_id] = (min(first, offset), max(last, offset))

    def settle(self, phone_number_id: str, up_to: int) -> None:
        """Everything of the number up to and with this offset has been driven again."""
        span = self._spans.get(phone_number_id)
        if span is None or span[0] > up_to:
            return
        if span[1] <= up_to:
            del self._spans[phone_number_id]
            self._done.pop(phone_number_id, None)
        else:
            self._spans[phone_number_id] = (up_to + 1, span[1])

    def skip(self, phone_number_id: str, offset: int) -> None:
        """An operator drove or dropped this one record."""
        if self._spans.get(phone_number_id) == (offset, offset):
            self.settle(phone_number_id, offset)
        elif phone_number_id in self._spans:
            self._done.setdefault(phone_number_id, set()).add(offset)

    def skipped(self, phone_number_id: str) -> frozenset[int]:
        """The offsets inside its span that are done all the same."""
        return frozenset(self._done.get(phone_number_id, ()))

    def spans(self) -> list[tuple[str, int, int]]:
        """Number, first and last offset of each that waits."""
        return [(number, first, last) for number, (first, last) in self._spans.items()]

    def watermark(self, position: int) -> int:
        """Where a later reader must start: the oldest that waits, else the position."""
        return min((first for first, _ in self._spans.values()), default=position)
