"""Looks one item up in every place where an item can be, and what was counted of all. Reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from services.inbox.model.ledger import Account, ParkedItem, WaitingItem
from services.inbox.model.tally import DayTally
from services.inbox.storage.directory import COLLECTION as DIRECTORY
from services.inbox.storage.messages import PENDING, PENDING_KEPT, MessageStore
from services.inbox.storage.tallies import TallyStore
from shared.contracts.directory import EntityKind
from shared.contracts.envelope import read_envelope
from shared.contracts.errors import EnvelopeError
from shared.contracts.topics import INBOUND
from shared.ids import IdHasher
from shared.mongo.client import Database, transient_errors

_PARKED = "parked"
_MOST_PARKED = 10_000
"""Parked records that are looked through: they have no index by what is in them."""


class LedgerStore:
    """What is stored of an item, by its wamid; what was counted of all, by day."""

    def __init__(self, database: Database, ids: IdHasher) -> None:
        self._database = database
        self._messages = MessageStore(database)
        self._tallies = TallyStore(database)
        self._ids = ids

    async def days(self, tenant: str, since: date, until: date) -> list[DayTally]:
        """The days that have records, the latest first; both ends are part of it."""
        return await self._tallies.days(tenant, since, until)

    async def account(self, tenant: str, wamid: str) -> Account:
        """The item on any number that the tenant has or had."""
        with transient_errors():
            numbers: list[str] = await self._database[DIRECTORY].distinct(
                "id", {"tenant": tenant, "kind": EntityKind.NUMBER.value}
            )
        keys = [self._ids.inbound_message(tenant, number, wamid) for number in numbers]
        found = await self._messages.look_up([], keys) if keys else []
        message = next((each for each in found if each.tenant == tenant), None)
        return Account(
            message,
            await self._waiting(tenant, keys),
            await self._parked(tenant, wamid),
            blocked=tuple(await self._tallies.blocked(tenant, keys)),
            again=tuple(await self._tallies.repeats(tenant, keys)),
        )

    async def phone_number_ids(self, tenant: str) -> set[str]:
        """Of the numbers that the tenant has."""
        query = {"tenant": tenant, "kind": EntityKind.NUMBER.value, "deleted": {"$ne": True}}
        with transient_errors():
            found: list[str] = await self._database[DIRECTORY].distinct("phone_number_id", query)
        return set(found)

    async def _waiting(self, tenant: str, keys: Sequence[str]) -> tuple[WaitingItem, ...]:
        query = {"tenant": tenant, "$or": [{"refs": {"$in": keys}}, {"_id": {"$in": keys}}]}
        with transient_errors():
            docs = await self._database[PENDING].find(query).to_list(None)
        return tuple(
            WaitingItem(doc["kind"], doc["received_at"], doc["received_at"] + PENDING_KEPT)
            for doc in docs
        )

    async def _parked(self, tenant: str, wamid: str) -> tuple[ParkedItem, ...]:
        named = f'"{wamid}"'.encode()
        with transient_errors():
            docs = await (
                self._database[_PARKED]
                .find({"topic": {"$regex": re.escape(INBOUND.base)}})
                .limit(_MOST_PARKED)
                .to_list(None)
            )
        return tuple(
            item
            for doc in docs
            if named in (doc["value"] or b"") and (item := _item(doc, tenant)) is not None
        )


def _item(doc: Mapping[str, Any], tenant: str) -> ParkedItem | None:
    """The parked record, if it is the tenant's."""
    try:
        envelope = read_envelope(tuple((name, value) for name, value in doc["headers"]))
    except EnvelopeError:
        return None  # parked for its headers: whose it is is not known
    if envelope.tenant != tenant:
        return None
    produced_at = datetime.fromtimestamp(doc["timestamp_ms"] / 1000, UTC)
    return ParkedItem(envelope.type, doc["reason"], produced_at, doc["parked_at"])
