"""From a record of whatsapp.inbound.v1 to items of the fold. Pure; wrong shapes do not raise."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson

from services.inbox.decisions import whatsapp
from services.inbox.decisions.whatsapp import Raw, ident, member, moment, named, text
from services.inbox.model.conversation import Stamp
from services.inbox.model.items import (
    Body,
    EditFact,
    Fact,
    Incoming,
    Person,
    ReactionFact,
    RevokeFact,
    StatusFact,
)
from shared.contracts.errors import PermanentError
from shared.contracts.inbound import InboundType
from shared.ids import IdHasher
from shared.value import value

CONTENT_LIMIT = 256 * 1024
_GROUP_FIELDS = frozenset({"group_lifecycle_update", "group_settings_update"})
_TOO_DEEP = b'{"truncated":true}'


@value
class Relink:
    """Meta says that two identities are one user, and since when."""

    previous: Person
    current: Person
    at: datetime


@value
class GroupName:
    """What a group is called now."""

    group_id: str
    name: str


@value
class Parsed:
    """An item and whose it is. `item` None: only people are told of, or it is just recorded."""

    tenant: str
    number_id: str
    person: Person
    group_id: str | None
    item: Incoming | Fact | None
    relink: Relink | None = None


@value
class Call:
    """Who called a number of ours, and when."""

    person: Person
    at: datetime


@value
class Recorded:
    """A change that is kept as it came: calls, groups, account and template updates, ..."""

    id: str
    tenant: str
    number_id: str | None
    field: str
    raw: bytes
    received_at: datetime
    relink: Relink | None = None
    group: GroupName | None = None
    call: Call | None = None


def parse(
    kind: str,
    tenant: str,
    ce_id: str,
    value: Raw,
    received_at: datetime,
    ids: IdHasher,
    source: str | None = None,
) -> Parsed | Recorded:
    """What one record says. Raises PermanentError for a record that ingest did not write.

    An item that says nothing (a status without its name) is recorded as it came.
    """
    item = value.get("item")
    if not isinstance(item, dict):
        raise PermanentError("no_item")
    contacts = value.get("contacts")
    contacts = contacts if isinstance(contacts, list) else []
    number = text(value.get("number_id"))
    if kind == InboundType.CHANGE or number is None:
        return _recorded(tenant, ce_id, number, value, received_at)
    reader = _Reader(tenant, number, ids, received_at, source)
    match kind:
        case InboundType.MESSAGE:
            found = reader.message(item, contacts)
        case InboundType.STATUS:
            found = reader.status(item)
        case InboundType.ECHO:
            found = reader.echo(item, contacts)
        case _:
            raise PermanentError("unknown_inbound_type")
    # Parking it would hold up everything else of that customer, for something nobody can mend.
    return found or _recorded(tenant, ce_id, number, value, received_at)


def _recorded(
    tenant: str, ce_id: str, number: str | None, value: Raw, received_at: datetime
) -> Recorded:
    item = value["item"]
    field = text(value.get("field")) or ""
    relink = None
    if field == "user_id_update":
        phone = ident(item.get("wa_id"))
        relink = _relink(
            Person(user_id=ident(member(item, "user_id", "previous")), wa_id=phone),
            Person(user_id=ident(member(item, "user_id", "current")), wa_id=phone),
            moment(item.get("timestamp"), received_at),
        )
    group = _group_name(item) if field in _GROUP_FIELDS else None
    call = _call(item, value.get("contacts"), received_at) if field == "calls" else None
    return Recorded(ce_id, tenant, number, field, _dumped(value), received_at, relink, group, call)


def _call(item: Raw, contacts: Any, received_at: datetime) -> Call | None:
    """A call of the customer, missed or taken. What tells of its end alone says when it began."""
    at = item.get("timestamp") if item.get("event") == "connect" else item.get("start_time")
    if item.get("direction") != "USER_INITIATED" or text(at) is None:
        return None
    person = whatsapp.sender(item, contacts if isinstance(contacts, list) else [])
    return Call(person, moment(at, received_at)) if person.known else None


def _group_name(item: Raw) -> GroupName | None:
    """The subject of a group that was made, or that got another one."""
    told = item.get("group_subject")
    changed = isinstance(told, dict) and told.get("update_successful") is True
    subject = member(told, "text") if changed else item.get("subject")
    name = whatsapp.short(subject, whatsapp.NAME_LENGTH)
    group = ident(item.get("group_id"))
    return GroupName(group, name) if group and name else None


def _relink(previous: Person, current: Person, at: datetime) -> Relink | None:
    return Relink(previous, current, at) if previous.known and current.known else None


def _is_too_long(raw: bytes) -> bool:
    return len(raw) > CONTENT_LIMIT or raw == _TOO_DEEP


def _fitting(body: Body, item: Raw) -> Body:
    raw = _dumped(item)
    return whatsapp.truncated(body, len(raw)) if _is_too_long(raw) else body


def _dumped(value: Any) -> bytes:
    """JSON of a raw item; what is nested too deep to write is cut."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return _TOO_DEEP


class _Reader:
    """Reads the items of one number of one tenant."""

    def __init__(
        self, tenant: str, number: str, ids: IdHasher, received_at: datetime, source: str | None
    ) -> None:
        self._tenant = tenant
        self._number = number
        self._ids = ids
        self._received_at = received_at
        self._source = source

    def _key(self, wamid: str) -> str:
        return self._ids.inbound_message(self._tenant, self._number, wamid)

    def message(self, item: Raw, contacts: list[Any]) -> Parsed | None:
        """None where it has no id, as in the two below."""
        wamid = named(item.get("id"))
        if wamid is None:
            return None
        person = whatsapp.sender(item, contacts)
        group = ident(item.get("group_id"))
        at = moment(item.get("timestamp"), self._received_at)
        fact = self._fact(item, wamid, at, person)
        if fact is not None:
            return Parsed(self._tenant, self._number, person, group, fact)
        body = whatsapp.body(item)
        incoming = self._incoming(
            item, wamid, at, person, body, "system" if body.type == "system" else "customer"
        )
        return Parsed(
            self._tenant, self._number, person, group, incoming, _system_relink(item, person, at)
        )

    def echo(self, item: Raw, contacts: list[Any]) -> Parsed | None:
        wamid = named(item.get("id"))
        if wamid is None:
            return None
        person = whatsapp.addressee(item, contacts)
        at = moment(item.get("timestamp"), self._received_at)
        fact = self._fact(item, wamid, at, None)
        found = fact or self._incoming(item, wamid, at, person, whatsapp.body(item), "phone")
        return Parsed(self._tenant, self._number, person, ident(item.get("group_id")), found)

    def _incoming(
        self, item: Raw, wamid: str, at: datetime, person: Person, body: Body, origin: Any
    ) -> Incoming:
        raw = _dumped(item)
        if _is_too_long(raw):
            body, raw = whatsapp.truncated(body, len(raw)), raw[:0]
        quoted = named(member(item, "context", "id"))
        key = self._key(wamid)
        in_group = origin == "customer" and ident(item.get("group_id")) is not None
        if body.media is not None:
            # Delivery derives the same id; a client may ask for the file before it is there.
            media_id = self._ids.of("media", self._tenant, key)
            body = replace(body, media=replace(body.media, id=media_id))
        return Incoming(
            id=key,
            wamid=ident(wamid) or wamid,
            sent_at=at,
            received_at=self._received_at,
            person=person,
            body=body,
            raw=raw,
            origin=origin,
            reply_key=self._key(quoted) if quoted else None,
            author_id=self._member(person) if in_group else None,
            source=self._source,
        )

    def _fact(self, item: Raw, wamid: str, at: datetime, person: Person | None) -> Fact | None:
        """A reaction, an edit or a revoke; None where it is none, or names no message."""
        stamp = Stamp(at, ident(wamid) or wamid)
        said: ReactionFact | EditFact | RevokeFact
        match item.get("type"):
            case "reaction":
                target = named(member(item, "reaction", "message_id"))
                emoji = whatsapp.emoji_of(item)
                by = self._member(person)
                said = ReactionFact("contact" if person else "agent", by, emoji, stamp)
            case "edit":
                target = named(member(item, "edit", "original_message_id"))
                edited = member(item, "edit", "message")
                if not isinstance(edited, dict):
                    return None
                # What stands around the new words is the edit's: the message keeps its own.
                edited = {**edited, "context": None}
                said = EditFact(_fitting(whatsapp.body(edited), edited), stamp)
            case "revoke":
                target = named(member(item, "revoke", "original_message_id"))
                said = RevokeFact(stamp)
            case _:
                return None
        if target is None:
            return None
        return Fact(key=self._key(wamid), refs=(self._key(target),), fact=said)

    def _member(self, person: Person | None) -> str | None:
        """Who wrote or reacted, as an opaque id: a group has several, and no contact of each."""
        if person is None or not person.known:
            return None
        return self._ids.of(
            "reactor", self._tenant, self._number, person.user_id or person.wa_id or ""
        )

    def status(self, item: Raw) -> Parsed | None:
        wamid = named(item.get("id"))
        callback = named(item.get("biz_opaque_callback_data"))
        if callback is not None and len(callback) > whatsapp.ID_LENGTH:
            callback = None  # none of ours
        name = text(item.get("status"))
        if (wamid is None and callback is None) or name is None:
            return None
        wamid_key = self._key(wamid) if wamid else None
        refs = tuple(r for r in (callback, wamid_key) if r)
        at = moment(item.get("timestamp"), self._received_at)
        user, phone = ident(item.get("recipient_user_id")), ident(item.get("recipient_id"))
        one = Person(
            user_id=ident(item.get("recipient_participant_user_id")),
            wa_id=ident(item.get("recipient_participant_id"))
            or ident(item.get("participant_recipient_id")),
        )
        participant = one.user_id or one.wa_id or ""
        fact = Fact(
            key=self._ids.of("status", self._tenant, refs[-1], name.lower(), participant),
            refs=refs,
            fact=StatusFact(name.lower()[:32], at, whatsapp.failure(item), ident(wamid), wamid_key),
        )
        in_group = item.get("recipient_type") == "group"  # then the phone is the group's id
        person = one if in_group else Person(user_id=user, wa_id=phone)
        return Parsed(self._tenant, self._number, person, None, fact)


def _system_relink(item: Raw, person: Person, at: datetime) -> Relink | None:
    """`user_changed_number` and `user_changed_user_id`: the same user, known by something new."""
    if item.get("type") != "system":
        return None
    told = whatsapp.mapping(item.get("system"))
    phone = ident(told.get("wa_id")) or ident(told.get("new_wa_id"))
    user = ident(told.get("user_id"))
    if told.get("type") == "customer_identity_changed":
        return None
    if (user, phone) == (person.user_id, person.wa_id):
        return None
    return _relink(person, Person(user_id=user, wa_id=phone), at)
