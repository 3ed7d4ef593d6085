"""Who a webhook is about: BSUID first, then the phone in its known spellings. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from services.inbox.model.contact import ATTRIBUTES_KEPT, FORMER_KEPT, Contact
from services.inbox.model.conversation import ContactSnapshot
from services.inbox.model.items import Person
from shared.contracts.phones import digits_of, is_same_phone, other_spellings, spelling_of


class IdentityKind(StrEnum):
    """What a contact is known by."""

    USER = "user_id"
    PHONE = "wa_id"
    SPELLING = "spelling"
    """A phone that has several spellings, in the one that stands for all of them."""
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class Identity:
    kind: IdentityKind
    value: str


_NOBODY = "unknown:"  # no BSUID: those begin with a country and a dot


def nobody(number_id: str) -> Person:
    """Stands for who wrote to a number without any word of who they are."""
    return Person(user_id=f"{_NOBODY}{number_id}")


def identities(person: Person) -> tuple[Identity, ...]:
    """The identities that a webhook shows, the strongest first."""
    found = []
    if person.user_id:
        found.append(Identity(IdentityKind.USER, person.user_id))
    if person.wa_id:
        digits = digits_of(person.wa_id)
        found.append(Identity(IdentityKind.PHONE, digits))
        if other_spellings(digits):
            found.append(Identity(IdentityKind.SPELLING, spelling_of(digits)))
    return tuple(found)


def origin(found: tuple[Identity, ...]) -> Identity:
    """What a new contact's id is derived from: the strongest, in the spelling that all share.

    Two pods that meet the two spellings of a phone at once make one contact.
    """
    first = found[0]
    if first.kind is not IdentityKind.PHONE:
        return first
    return Identity(IdentityKind.PHONE, spelling_of(first.value))


def is_another(
    identity: Identity,
    user_id: str | None,
    holder: ContactSnapshot | None,
    own: ContactSnapshot | None = None,
) -> bool:
    """Whether somebody with a BSUID is not whom their phone leads to (`holder`).

    Two BSUIDs that meet in a phone are one user whom two portfolios know, unless one of the two
    contacts shows another phone: the `holder`, who left this one to somebody else, or their `own`,
    who comes from that one. Two that meet in the spelling of a phone alone are two users: a
    landline of Brazil and the mobile with a 9 in front only look like two spellings of one.
    """
    if user_id is None or holder is None or holder.user_id is None or holder.user_id == user_id:
        return False
    if identity.kind is IdentityKind.PHONE:
        return any(
            each is not None
            and each.wa_id is not None
            and not is_same_phone(each.wa_id, identity.value)
            for each in (holder, own)
        )
    return identity.kind is IdentityKind.SPELLING


def phone_variants(wa_id: str) -> tuple[str, ...]:
    """Other spellings of the same phone."""
    return other_spellings(digits_of(wa_id))


def refreshed(contact: Contact, person: Person, at: datetime) -> Contact:
    """The contact with what a webhook shows newly; the same object where nothing is new.

    `at`: when it was said, by Meta's clock. Webhooks come in any order: what the customer wrote
    before they moved does not bring the phone or the BSUID back that they left.
    """
    former = contact.former if contact.moved_at is not None and at <= contact.moved_at else ()
    wa_id = None if person.wa_id in former else person.wa_id
    user_id = None if person.user_id in former else person.user_id
    if user_id is not None and user_id.startswith(_NOBODY):
        user_id = None  # leads to the contact; nobody can be reached by it
    after = replace(
        contact,
        name=person.name or contact.name,
        wa_id=wa_id or contact.wa_id,
        user_id=user_id or contact.user_id,
        username=person.username or contact.username,
    )
    return contact if after == contact else after


def completed(contact: Contact, person: Person) -> Contact:
    """The contact with an address of a kind that it had none of."""
    return replace(
        contact,
        wa_id=contact.wa_id or person.wa_id,
        user_id=contact.user_id or person.user_id,
    )


def moved(contact: Contact, previous: Person, current: Person, at: datetime) -> Contact:
    """The contact after Meta said that `previous` is `current` now.

    News that are older, or told again, change no address.
    """
    left = [previous.user_id, previous.wa_id]
    last = contact.moved_at
    is_told = last == at and any(each in contact.former for each in left)
    if is_told or (last is not None and at < last):
        after = contact
        left += [current.user_id, current.wa_id]
    else:
        after = replace(refreshed(contact, current, at), moved_at=at)
        after = replace(
            after,
            wa_id=current.wa_id or after.wa_id,
            user_id=current.user_id or after.user_id,
        )
    return replace(after, former=_left(after, *contact.former, *left))


def _left(contact: Contact, *addresses: str | None) -> tuple[str, ...]:
    """Each once, the latest ones, without those that the contact has."""
    found = dict.fromkeys(each for each in addresses if each)
    has = (contact.wa_id, contact.user_id)
    return tuple(each for each in found if each not in has)[-FORMER_KEPT:]


def shows(shown: ContactSnapshot, person: Person) -> bool:
    """Whether a webhook tells nothing new about a contact."""
    return (
        (person.user_id is None or person.user_id == shown.user_id)
        and (person.wa_id is None or person.wa_id == shown.wa_id)
        and (person.name is None or person.name == shown.name)
        and (person.username is None or person.username == shown.username)
    )


def absorbed(kept: Contact, merged: Contact) -> Contact:
    """The contact that stays, with what agents gave the other one; twice is once.

    Who was blocked as one of them is blocked. Where both have an attribute, the older one's stays.
    """
    notes = kept.notes or merged.notes
    if kept.notes and merged.notes and merged.notes not in kept.notes:
        notes = f"{kept.notes}\n\n{merged.notes}"
    attributes = dict(kept.attributes)
    for name, value in merged.attributes.items():
        if len(attributes) < ATTRIBUTES_KEPT:
            attributes.setdefault(name, value)
    return replace(
        kept,
        blocked=kept.blocked or merged.blocked,
        blocked_at=kept.blocked_at or merged.blocked_at,
        labels=tuple(dict.fromkeys((*kept.labels, *merged.labels))),
        attributes=attributes,
        notes=notes,
        same_as=tuple(dict.fromkeys((*kept.same_as, merged.id, *merged.same_as))),
        moved_at=max(filter(None, (kept.moved_at, merged.moved_at)), default=None),
        former=_left(kept, *merged.former, *kept.former),
    )


def older(one: Contact, other: Contact) -> tuple[Contact, Contact]:
    """(the contact that stays, the one that is merged into it): the same on every pod."""
    if (one.created_at, one.id) <= (other.created_at, other.id):
        return one, other
    return other, one
