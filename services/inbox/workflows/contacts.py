"""Finds, creates, refreshes and links the contacts of a batch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from services.inbox.decisions.identity import (
    Identity,
    IdentityKind,
    absorbed,
    completed,
    identities,
    is_another,
    moved,
    older,
    origin,
    refreshed,
    shows,
)
from services.inbox.decisions.parsing import GroupName, Relink
from services.inbox.decisions.views import Names, iso, label_view
from services.inbox.model.contact import Contact
from services.inbox.model.conversation import ContactSnapshot
from services.inbox.model.items import Person
from services.inbox.storage.contacts import (
    IdentityStore,
    Known,
    contact_change,
    contact_of,
)
from shared.ids import IdHasher
from shared.mongo.headlog import (
    ROUNDS,
    Change,
    ContentionError,
    Entry,
    Head,
    HeadLog,
    Publication,
    published,
)

_SYSTEM = {"kind": "system", "id": None, "name": None}


@dataclass(frozen=True, slots=True)
class Want:
    """A person, or a group, whose contact an item of `at` needs."""

    tenant: str
    person: Person
    at: datetime
    group_id: str | None = None

    def identities(self) -> tuple[Identity, ...]:
        if self.group_id is not None:
            return (Identity(IdentityKind.GROUP, self.group_id),)
        return identities(self.person)


@dataclass(slots=True)
class Resolved:
    """The contact of each want (None: it names nobody), and what is to be published."""

    contacts: list[ContactSnapshot | None]
    publications: list[Publication]


class ContactResolver:
    """Contacts by BSUID, then phone; both linked when one webhook shows both."""

    def __init__(
        self,
        identities_: IdentityStore,
        log: HeadLog,
        ids: IdHasher,
        clock: Callable[[], datetime],
        names: Names,
    ) -> None:
        self._identities = identities_
        self._log = log
        self._ids = ids
        self._clock = clock
        self._names = names

    async def resolve(self, wants: Sequence[Want]) -> Resolved:
        """Finds or creates the contacts. Raises TransientError; a repeat ends the same.

        Where the strongest identity is known and shows nothing new, its own projection of the
        contact is the answer: one read for the whole batch. The others take the long way.
        """
        keys = [self._strongest(want) for want in wants]
        known = await self._identities.find({key for key in keys if key})
        contacts: list[ContactSnapshot | None] = [None] * len(wants)
        unsettled: list[int] = []
        for position, (want, key) in enumerate(zip(wants, keys, strict=True)):
            if key is None:
                continue
            found = known.get(key)
            # Who wrote in a group is shown by the message alone.
            person = want.person if want.group_id is None else Person()
            if found is not None and found.shown is not None and shows(found.shown, person):
                contacts[position] = found.shown
            else:
                unsettled.append(position)
        if not unsettled:
            return Resolved(contacts, [])
        long = [wants[position] for position in unsettled]
        settled, publications = await self._load(long, await self._find_or_claim(long))
        for position, contact in zip(unsettled, settled, strict=True):
            contacts[position] = contact
        return Resolved(contacts, publications)

    def _strongest(self, want: Want) -> str | None:
        identities_ = want.identities()
        return self._identities.key(want.tenant, identities_[0]) if identities_ else None

    async def acquaint(self, wants: Sequence[Want]) -> None:
        """Who is known by the phone or by the BSUID is known by both from now on.

        For what makes no contact: a reaction or a status of somebody unknown creates nobody.
        """
        keys = [self._keys(want) for want in wants]
        found = await self._identities.find({key for row in keys for key in row})
        for want, row in zip(wants, keys, strict=True):
            held = {found[key].contact for key in row if key in found}
            if not held or (len(held) == 1 and all(key in found for key in row)):
                continue
            (contact,) = await self._find_or_claim([want])
            if contact is not None:
                await self._alter(contact, partial(completed, person=want.person))

    # -- identities

    def _keys(self, want: Want) -> list[str]:
        return [self._identities.key(want.tenant, i) for i in want.identities()]

    async def _find_or_claim(self, wants: Sequence[Want]) -> list[str | None]:
        """The contact id of each want; what nobody had is claimed, and linked where it must."""
        keys = [self._keys(want) for want in wants]
        for _ in range(ROUNDS):
            found = await self._identities.find({key for row in keys for key in row})
            known = {key: each.contact for key, each in found.items()}
            holders = await self._holders(found.values())
            claims: dict[str, str] = {}
            tenants: dict[str, str] = {}
            links: set[tuple[str, str, str]] = set()
            left: dict[str, tuple[str, str]] = {}
            for want, whole in zip(wants, keys, strict=True):
                row, taken = _told_apart(want, whole, known, holders)
                held = list(dict.fromkeys(known[key] for key in row if key in known))
                if len(held) > 1:
                    links.add((want.tenant, held[0], held[1]))
                contact = held[0] if held else self._new_id(want)
                if contact not in holders:
                    person = want.person
                    holders[contact] = ContactSnapshot(
                        contact, wa_id=person.wa_id, user_id=person.user_id
                    )
                left |= {key: (known[key], contact) for key in taken}
                for key in row:
                    if key not in known:
                        known[key] = claims[key] = contact
                        tenants[key] = want.tenant
            if claims and not await self._identities.claim(tenants, claims):
                continue
            if links:
                for tenant, one, other in links:
                    await self._link(tenant, one, other)
                continue
            await self._identities.pass_on(left)
            return [known[row[0]] if row else None for row in keys]
        raise ContentionError("identities")

    async def _holders(self, found: Collection[Known]) -> dict[str, ContactSnapshot]:
        """The contacts that identities lead to, by which two users are told apart."""
        shown = {each.contact: each.shown for each in found if each.shown is not None}
        heads = await self._log.load({each.contact for each in found} - shown.keys())
        return shown | {head.id: contact_of(head).snapshot() for head in heads.values()}

    async def _contacts_of(self, keys: Iterable[str]) -> dict[str, str]:
        return {key: known.contact for key, known in (await self._identities.find(keys)).items()}

    def _new_id(self, want: Want) -> str:
        """The same on every pod."""
        first = origin(want.identities())
        return self._ids.of("contact", want.tenant, first.kind.value, first.value)

    async def _link(self, tenant: str, one: str, other: str) -> None:
        """Two contacts are one user: both identities lead to the older contact from now on."""
        for _ in range(ROUNDS):
            heads = await self._log.load([one, other])
            if one not in heads or other not in heads:
                # A claim whose contact was never created: the one that exists stays.
                stays = one if one in heads or other not in heads else other
                await self._identities.redirect(tenant, other if stays == one else one, stays)
                return
            kept, merged = older(contact_of(heads[one]), contact_of(heads[other]))
            # First: what agents do to it from here on is done to the one that stays.
            into = replace(merged, merged_into=kept.id)
            carried = heads[merged.id].unpublished
            if into == merged or await self._save([self._change(into, carried)]):
                break
        else:
            raise ContentionError("contacts")
        await self._alter(kept.id, partial(_joined, merged=merged))
        # Last: behind it nobody would come again to do the rest.
        await self._identities.redirect(tenant, merged.id, kept.id)

    async def relink(self, tenant: str, relink: Relink) -> tuple[str, ...]:
        """`user_id_update`, `user_changed_number`: the previous identity leads where it did.

        Answers with the contacts that are this user, first the one that stays.
        """
        want = Want(
            tenant,
            Person(
                user_id=relink.previous.user_id or relink.current.user_id,
                wa_id=relink.previous.wa_id or relink.current.wa_id,
            ),
            relink.at,
        )
        found = await self.resolve([want])
        contact = found.contacts[0]
        if contact is None:
            return ()
        keys = await self._own(tenant, relink, contact)
        held = await self._contacts_of(keys)
        missing = {key: contact.id for key in keys if key not in held}
        if missing:
            await self._identities.claim(dict.fromkeys(missing, tenant), missing)
        others = set(held.values()) - {contact.id}
        for other in others:
            await self._link(tenant, contact.id, other)
        ids = await self._contacts_of(keys)
        target = next(iter(ids.values()), contact.id)
        previous, current = relink.previous, relink.current
        await self._alter(target, lambda shown: moved(shown, previous, current, relink.at))
        await self._log.publish(found.publications)
        return (target, *(({contact.id} | others) - {target}))

    async def _own(self, tenant: str, relink: Relink, own: ContactSnapshot) -> list[str]:
        """The new identities, without the phone that still leads to somebody else."""
        user = relink.current.user_id or relink.previous.user_id or own.user_id
        named = identities(relink.current)
        keys = [self._identities.key(tenant, identity) for identity in named]
        found = await self._identities.find(keys)
        holders = await self._holders(found.values())
        return [
            key
            for key, identity in zip(keys, named, strict=True)
            if key not in found
            or not is_another(identity, user, holders.get(found[key].contact), own)
        ]

    async def known(self, tenant: str, person: Person) -> str | None:
        """The contact that somebody is known as; nobody is created."""
        named = identities(person)
        keys = [self._identities.key(tenant, identity) for identity in named]
        found = await self._identities.find(keys)
        for key, identity in zip(keys, named, strict=True):
            it = found.get(key)
            if it is not None and not is_another(identity, person.user_id, it.shown):
                return it.contact
        return None

    async def name_group(self, tenant: str, group: GroupName) -> None:
        """A group shows its subject as its contact's name, from the next message on."""
        now = self._clock()
        found = await self.resolve([Want(tenant, Person(), now, group.group_id)])
        contact = found.contacts[0]
        if contact is not None:
            named = Person(name=group.name)
            await self._alter(contact.id, lambda shown: refreshed(shown, named, now))
        await self._log.publish(found.publications)

    async def _alter(self, contact_id: str, change: Callable[[Contact], Contact]) -> None:
        for _ in range(ROUNDS):
            head = (await self._log.load([contact_id])).get(contact_id)
            if head is None:
                return
            contact = contact_of(head)
            after = change(contact)
            if after == contact or await self._save([self._change(after, head.unpublished)]):
                return
        raise ContentionError("contact")

    async def _save(self, changes: Sequence[Change]) -> bool:
        won = await self._log.commit(changes)
        done = [published(change) for change in changes if change.id in won]
        await self._log.publish(done)
        return len(won) == len(changes)

    # -- contacts

    def _change(self, contact: Contact, carried: tuple[Entry, ...] = ()) -> Change:
        return contact_change(
            contact,
            labels=[label_view(contact.tenant, each, self._names) for each in contact.labels],
            at=iso(self._clock()),
            actor=_SYSTEM,
            carried=carried,
        )

    async def _load(
        self, wants: Sequence[Want], places: list[str | None]
    ) -> tuple[list[ContactSnapshot | None], list[Publication]]:
        """Loads the contacts; creates those that are missing, refreshes what is shown newly."""
        unchanged: list[Contact] = []
        publications: dict[str, Publication] = {}
        people: dict[str, list[Want]] = {}
        for want, place in zip(wants, places, strict=True):
            if place is not None:
                people.setdefault(place, []).append(want)
        contacts: dict[str, Contact] = {}
        missing: Iterable[str] = people
        for _ in range(ROUNDS):
            heads = await self._log.load(missing)
            changes: list[Change] = []
            for contact_id in missing:
                head = heads.get(contact_id)
                carried = head.unpublished if head else ()
                before, after = self._shown(contact_id, head, people[contact_id])
                if head is None or after is not before:
                    changes.append(self._change(after, carried))
                    contacts[contact_id] = replace(after, version=after.version + 1)
                    continue
                contacts[contact_id] = before
                unchanged.append(before)
                if carried:
                    publications[contact_id] = Publication(contact_id, head.version, carried)
            won = await self._log.commit(changes)
            publications |= {c.id: published(c) for c in changes if c.id in won}
            missing = [change.id for change in changes if change.id not in won]
            if not missing:
                await self._identities.note(unchanged)
                found = [contacts[place].snapshot() if place else None for place in places]
                return found, list(publications.values())
        raise ContentionError("contacts")

    def _shown(
        self, contact_id: str, head: Head | None, wants: Sequence[Want]
    ) -> tuple[Contact, Contact]:
        """The contact as stored, and with what its items show (the same object: nothing new)."""
        before = contact_of(head) if head else self._blank(contact_id, wants[0])
        after = before
        for want in wants:
            if want.group_id is None:
                after = refreshed(after, want.person, want.at)
        return before, after

    def _blank(self, contact_id: str, want: Want) -> Contact:
        return Contact(
            id=contact_id,
            tenant=want.tenant,
            version=0,
            created_at=self._clock(),
            group=want.group_id is not None,
        )


def _told_apart(
    want: Want,
    keys: Sequence[str],
    known: Mapping[str, str],
    holders: Mapping[str, ContactSnapshot],
) -> tuple[list[str], list[str]]:
    """The keys of a want's own identities, and those that it takes from who left them to it.

    Only somebody new takes them: what was written before a move may be told late.
    """
    found = [holders.get(known.get(key, "")) for key in keys]
    strongest = found[0] if found else None
    user = want.person.user_id or (None if strongest is None else strongest.user_id)
    own = strongest if want.person.user_id else None
    others = {
        key: identity.kind
        for key, identity, holder in zip(keys, want.identities(), found, strict=True)
        if is_another(identity, user, holder, own)
    }
    left = own is None and IdentityKind.PHONE in others.values()
    return [key for key in keys if key not in others], [*others] if left else []


def _joined(kept: Contact, merged: Contact) -> Contact:
    """Once: what agents took away from the contact since does not come back."""
    return kept if merged.id in kept.same_as else absorbed(kept, merged)
