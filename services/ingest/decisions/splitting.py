"""From the JSON of a webhook to its items: never an exception for what Meta may send.

Shapes: https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference
"""

from __future__ import annotations

from collections.abc import Iterable

from services.ingest.model import Item, Json, Reject, Split
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


def _ident(value: object) -> str | None:
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
        self.phone_number_id = _ident(self.metadata.get("phone_number_id"))
        self.waba_id = _ident(entry.get("id"))
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
                    known_as = _ident(contact.get(name))
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
            elif _ident(element.get("id")) is None:
                out.rejects.append(Reject(QuarantineReason.NO_MESSAGE_ID, self.phone_number_id))
            elif kind is InboundType.STATUS:
                out.items.append(self._status(element))
            else:
                out.items.append(self._message(element, kind))

    def _message(self, element: Json, kind: InboundType) -> Item:
        if kind is InboundType.ECHO:
            user, phone = _ident(element.get("to_user_id")), _ident(element.get("to"))
        else:
            user, phone = _ident(element.get("from_user_id")), _ident(element.get("from"))
        contacts = self._belonging(user, phone) or self._only_one(element, user, phone)
        group = _ident(element.get("group_id"))
        return self._item(
            kind,
            element,
            contacts,
            f"group:{group}" if group else _party(user, phone, contacts),
            (kind.value, str(element["id"])),
        )

    def _status(self, element: Json) -> Item:
        user, phone = _ident(element.get("recipient_user_id")), _ident(element.get("recipient_id"))
        participant = (
            _ident(element.get("recipient_participant_user_id")),
            _ident(element.get("recipient_participant_id"))
            # Meta's own examples spell it this way round as well.
            or _ident(element.get("participant_recipient_id")),
        )
        if element.get("recipient_type") == "group" and phone:
            contacts = self._belonging(*participant)
            party = f"group:{phone}"
        else:
            contacts = self._belonging(user, phone)
            party = _party(user, phone, contacts)
        identity = (
            InboundType.STATUS.value,
            str(element["id"]),
            _ident(element.get("status")) or "",
            _ident(element.get("timestamp")) or "",
            participant[0] or participant[1] or user or phone or "",
        )
        return self._item(InboundType.STATUS, element, contacts, party, identity)

    def _change(self, element: Json) -> Item:
        user = _ident(element.get("from_user_id")) or _user_id(element.get("user_id"))
        phone = _ident(element.get("wa_id")) or _ident(element.get("from"))
        if element.get("direction") == "BUSINESS_INITIATED":  # a call of ours: the user is `to`
            user = _ident(element.get("to_user_id"))
            phone = _ident(element.get("to"))
        contacts = self._belonging(user, phone) if element is not self.value else []
        group = _ident(element.get("group_id"))
        identity = (
            InboundType.CHANGE.value,
            self.field,
            _ident(self.entry.get("time")) or "",
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
        own_user, own_phone = _ident(contact.get("user_id")), _ident(contact.get("wa_id"))
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
            (_ident(one.get("from_user_id")), _ident(one.get("from")))
            for one in _elements(self.value, "messages")
            if one.get("type") != "system"
        } | {
            (_ident(one.get("to_user_id")), _ident(one.get("to")))
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
        user = next((own for one in contacts if (own := _ident(one.get("user_id")))), None)
    if user is not None:
        return f"user:{user}"
    return f"phone:{phone}" if phone else ""


def _user_id(value: object) -> str | None:
    # In user_id_update it is {previous, current}: behind what came under the previous one.
    return _ident(value.get("previous")) if isinstance(value, dict) else _ident(value)
