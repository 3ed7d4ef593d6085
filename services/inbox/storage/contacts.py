"""Contacts (heads of their own log) and the identities that lead to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
from pymongo import UpdateMany, UpdateOne
from pymongo.errors import BulkWriteError

from services.inbox.decisions.identity import Identity, phone_variants
from services.inbox.decisions.searching import words_of_contact
from services.inbox.model.contact import Contact
from services.inbox.model.conversation import ContactSnapshot
from services.inbox.model.events import Command
from services.inbox.storage.entries import SOURCE
from shared.contracts import topics
from shared.contracts.envelope import Envelope
from shared.contracts.events import EventType
from shared.ids import IdHasher
from shared.mongo.client import DUPLICATE_KEY, Database, Document, transient_errors
from shared.mongo.headlog import Change, Entry, Head, LogRecord, PatchAll

CONTACTS = "contacts"
IDENTITIES = "identities"


@dataclass(frozen=True, slots=True)
class Known:
    """What an identity leads to.

    `shown` is the contact as of its last change; None where that is not known yet.
    """

    contact: str
    shown: ContactSnapshot | None


class IdentityStore:
    """`(tenant, kind, value) -> contact`: inserted if absent, the first wins.

    `v` and `shown` are a projection of the contact, written by its outbox entries.
    """

    def __init__(self, database: Database, ids: IdHasher) -> None:
        self._collection = database[IDENTITIES]
        self._ids = ids

    async def ensure_indexes(self) -> None:
        with transient_errors():
            await self._collection.create_index([("tenant", 1), ("contact", 1)])

    def key(self, tenant: str, identity: Identity) -> str:
        """The document's id: a keyed hash, since the value is personal data."""
        return self._ids.known("identity", tenant, identity.kind.value, identity.value)

    async def find(self, keys: Iterable[str]) -> dict[str, Known]:
        """What is known of each identity key."""
        wanted = list(keys)
        if not wanted:
            return {}
        with transient_errors():
            docs = await self._collection.find({"_id": {"$in": wanted}}).to_list(None)
        return {doc["_id"]: Known(doc["contact"], _shown(doc)) for doc in docs}

    async def note(self, contacts: Sequence[Contact]) -> None:
        """Writes the projection of contacts whose identities were claimed after their change."""
        if not contacts:
            return
        with transient_errors():
            await self._collection.bulk_write(
                [
                    UpdateMany(
                        {"tenant": it.tenant, "contact": it.id, "v": {"$lt": it.version}},
                        {"$set": {"v": it.version, "shown": _shown_document(it)}},
                    )
                    for it in contacts
                ],
                ordered=False,
            )

    async def claim(self, tenants: Mapping[str, str], contacts: Mapping[str, str]) -> bool:
        """Inserts key -> contact; False where any was there already (read again)."""
        documents = [
            {"_id": key, "tenant": tenants[key], "contact": contact, "v": 0}
            for key, contact in contacts.items()
        ]
        with transient_errors():
            try:
                await self._collection.insert_many(documents, ordered=False)
            except BulkWriteError as error:
                if any(e["code"] != DUPLICATE_KEY for e in error.details["writeErrors"]):
                    raise
                return False
        return True

    async def pass_on(self, keys: Mapping[str, tuple[str, str]]) -> None:
        """Points identities from one contact to another, unless they were by now."""
        if not keys:
            return
        with transient_errors():
            await self._collection.bulk_write(
                [
                    UpdateOne(
                        {"_id": key, "contact": old},
                        {"$set": {"contact": new, "v": 0}, "$unset": {"shown": ""}},
                    )
                    for key, (old, new) in keys.items()
                ],
                ordered=False,
            )

    async def redirect(self, tenant: str, contact: str, to: str) -> None:
        """Points every identity of a contact to another one."""
        with transient_errors():
            await self._collection.update_many(
                {"tenant": tenant, "contact": contact},
                {"$set": {"contact": to, "v": 0}, "$unset": {"shown": ""}},
            )


def _shown(doc: Document) -> ContactSnapshot | None:
    shown = doc.get("shown")
    if shown is None:
        return None
    name, wa_id, user_id, username, blocked, labels = shown
    return ContactSnapshot(doc["contact"], name, wa_id, user_id, username, blocked, tuple(labels))


def _shown_document(it: Contact) -> list[Any]:
    return [it.name, it.wa_id, it.user_id, it.username, it.blocked, list(it.labels)]


def contact_document(it: Contact) -> Document:
    return {
        "tenant": it.tenant,
        "created_at": it.created_at,
        "name": it.name,
        "wa_id": it.wa_id,
        "user_id": it.user_id,
        "username": it.username,
        "group": it.group,
        "blocked": it.blocked,
        "blocked_at": it.blocked_at,
        "labels": list(it.labels),
        "attributes": dict(it.attributes),
        "notes": it.notes,
        "merged_into": it.merged_into,
        "same_as": list(it.same_as),
        "moved_at": it.moved_at,
        "former": list(it.former),
        "words": words_of_contact(it.name, it.username, _phones(it)),
    }


def _phones(it: Contact) -> tuple[str, ...]:
    return (it.wa_id, *phone_variants(it.wa_id)) if it.wa_id and not it.group else ()


def contact_of(head: Head) -> Contact:
    state = head.state
    return Contact(
        id=head.id,
        tenant=state["tenant"],
        version=head.version,
        created_at=state["created_at"],
        name=state["name"],
        wa_id=state["wa_id"],
        user_id=state["user_id"],
        username=state["username"],
        group=state["group"],
        blocked=state["blocked"],
        blocked_at=state.get("blocked_at"),
        labels=tuple(state["labels"]),
        attributes=state.get("attributes") or {},
        notes=state.get("notes"),
        merged_into=state["merged_into"],
        same_as=tuple(state.get("same_as") or ()),
        moved_at=state.get("moved_at"),
        former=tuple(state.get("former") or ()),
    )


def contact_change(
    contact: Contact,
    *,
    labels: Sequence[Any],
    at: str,
    actor: dict[str, Any],
    carried: tuple[Entry, ...] = (),
    type_: EventType = EventType.CONTACT_UPDATED,
    commands: Sequence[tuple[str, Command]] = (),
) -> Change:
    """The compare-and-set from `contact.version` to the next, with its event.

    `commands`: each with the conversation that it is told as.
    """
    version = contact.version + 1
    payload = {
        "contact": {
            "id": contact.id,
            "version": version,
            "name": contact.name,
            "wa_id": contact.wa_id,
            "user_id": contact.user_id,
            "username": contact.username,
            "blocked": contact.blocked,
            "labels": list(labels),
        },
        "actor": actor,
    }
    record = LogRecord(
        topic=topics.CONTACT_EVENTS,
        key=contact.id,
        value=orjson.dumps(payload),
        envelope=Envelope(
            id=f"{contact.id}:{version}",
            type=type_.value,
            source=SOURCE,
            time=at,
            tenant=contact.tenant,
            subject=contact.id,
            sequence=version,
        ),
    )
    shown = PatchAll(
        IDENTITIES,
        {"tenant": contact.tenant, "contact": contact.id},
        version,
        {"shown": _shown_document(contact)},
    )
    return Change(
        id=contact.id,
        expected=contact.version,
        state=contact_document(contact),
        entries=(
            Entry(
                version,
                (record,),
                (shown,),
                tuple(
                    _command(record.envelope, place, told_as, command)
                    for place, (told_as, command) in enumerate(commands)
                ),
            ),
        ),
        carried=carried,
    )


def _command(event: Envelope, place: int, conversation: str, command: Command) -> LogRecord:
    return LogRecord(
        topic=topics.OUTBOUND,
        key=conversation,
        value=orjson.dumps(command.payload),
        envelope=replace(
            event, id=f"{event.id}:{place}", type=command.type.value, subject=conversation
        ),
    )
