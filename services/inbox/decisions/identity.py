"""Who a webhook is about: BSUID first, then the phone in its known spellings. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from services.inbox.model.contact import Contact
from services.inbox.model.conversation import ContactSnapshot
from services.inbox.model.items import Person


class IdentityKind(StrEnum):
    """What a contact is known by."""

    USER = "user_id"
    PHONE = "wa_id"
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class Identity:
    kind: IdentityKind
    value: str


def identities(person: Person) -> tuple[Identity, ...]:
    """The identities that a webhook shows, the strongest first."""
    found = []
    if person.user_id:
        found.append(Identity(IdentityKind.USER, person.user_id))
    if person.wa_id:
        found.append(Identity(IdentityKind.PHONE, person.wa_id))
    return tuple(found)


def phone_variants(wa_id: str) -> tuple[str, ...]:
    """Other spellings of the same phone: Brazil's ninth digit, Mexico's 1, Argentina's 9.

    Only looked up, never stored: adding a digit blindly breaks landlines.
    """
    match wa_id[:2], len(wa_id):
        case "55", 13 if wa_id[4] == "9":
            return (wa_id[:4] + wa_id[5:],)
        case "55", 12:
            return (f"{wa_id[:4]}9{wa_id[4:]}",)
        case "52", 13 if wa_id[2] == "1":
            return ("52" + wa_id[3:],)
        case "52", 12:
            return ("521" + wa_id[2:],)
        case "54", 13 if wa_id[2] == "9":
            return ("54" + wa_id[3:],)
        case "54", 12:
            return ("549" + wa_id[2:],)
        case _:
            return ()


def refreshed(contact: Contact, person: Person) -> Contact:
    """The contact with what a webhook shows newly; the same object where nothing is new."""
    after = replace(
        contact,
        name=person.name or contact.name,
        wa_id=person.wa_id or contact.wa_id,
        user_id=person.user_id or contact.user_id,
        username=person.username or contact.username,
    )
    return contact if after == contact else after


def shows(shown: ContactSnapshot, person: Person) -> bool:
    """Whether a webhook tells nothing new about a contact."""
    return (
        (person.user_id is None or person.user_id == shown.user_id)
        and (person.wa_id is None or person.wa_id == shown.wa_id)
        and (person.name is None or person.name == shown.name)
        and (person.username is None or person.username == shown.username)
    )


def older(one: Contact, other: Contact) -> tuple[Contact, Contact]:
    """(the contact that stays, the one that is merged into it): the same on every pod."""
    if (one.created_at, one.id) <= (other.created_at, other.id):
        return one, other
    return other, one
