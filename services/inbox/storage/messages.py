"""Message documents and the facts that wait for one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pymongo import ReplaceOne
from pymongo.errors import BulkWriteError

from services.inbox.decisions.fold import MessageIndex
from services.inbox.model.conversation import Message
from services.inbox.storage.documents import message_of
from services.inbox.storage.entries import ACTIVITIES, MESSAGES
from shared.mongo.client import (
    DUPLICATE_KEY,
    Database,
    Document,
    causal_session,
    transient_errors,
)
from shared.mongo.headlog import Entry, Insert, Put

PENDING = "pending_facts"
CHANGES = "changes"
PENDING_KEPT = timedelta(hours=24)
STUBS_KEPT = timedelta(days=8)
CHANGES_KEPT = timedelta(days=90)


class MessageStore:
    """Reads of the messages; writes go through outbox entries alone."""

    def __init__(self, database: Database) -> None:
        self._messages = database[MESSAGES]
        self._activities = database[ACTIVITIES]

    async def ensure_indexes(self) -> None:
        with transient_errors():
            await self._messages.create_index(
                "wk", name="wk", partialFilterExpression={"wk": {"$type": "string"}}
            )
            await self._messages.create_index(
                [("tenant", 1), ("conversation", 1), ("seq", -1)], name="thread"
            )
            await self._messages.create_index(
                "deleted_at",
                name="stub_expiry",
                expireAfterSeconds=int(STUBS_KEPT.total_seconds()),
                partialFilterExpression={"deleted_at": {"$type": "date"}},
            )
            await self._activities.create_index(
                [("tenant", 1), ("conversation", 1), ("v", -1)], name="log"
            )

    async def look_up(self, ids: Iterable[str], refs: Iterable[str]) -> list[Message]:
        """Messages by id, and by id or wamid key."""
        by_id, by_ref = list(ids), list(refs)
        found: list[Document] = []
        session = causal_session()
        with transient_errors():
            if by_ref:
                query = {"$or": [{"_id": {"$in": by_id + by_ref}}, _referred(by_ref)]}
                found = await self._messages.find(query, session=session).to_list(None)
            elif by_id:
                found = await self._messages.find({"_id": {"$in": by_id}}, session=session).to_list(
                    None
                )
        return [message_of(doc) for doc in found]

    async def conversations_of(self, refs: Sequence[str]) -> dict[tuple[str, str], str]:
        """Conversation by tenant and message id or wamid key: this never changes, unlike the rest.

        By tenant too: a webhook may name any message id as its callback data.
        """
        if not refs:
            return {}
        with transient_errors():
            docs = await self._messages.find(
                {"$or": [{"_id": {"$in": list(refs)}}, _referred(refs)]},
                {"tenant": 1, "conversation": 1, "wk": 1},
                session=causal_session(),
            ).to_list(None)
        found: dict[tuple[str, str], str] = {}
        for doc in docs:
            found[doc["tenant"], doc["_id"]] = doc["conversation"]
            if "wk" in doc:
                found[doc["tenant"], doc["wk"]] = doc["conversation"]
        return found


def _referred(refs: Sequence[str]) -> Document:
    # A partial index is taken only by a query that has its condition word for word.
    return {"wk": {"$type": "string", "$in": list(refs)}}


def overlay(index: MessageIndex, unpublished: Iterable[Entry]) -> None:
    """Lays the message documents of outbox entries over what was looked up."""
    for entry in unpublished:
        for write in entry.documents:
            if isinstance(write, Insert | Put) and write.collection == MESSAGES:
                index.put(message_of(write.document))


@dataclass(frozen=True, slots=True)
class PendingFact:
    """A record whose message is not here (yet): kept as it came, for 24 h."""

    key: str
    refs: tuple[str, ...]
    tenant: str
    kind: str
    ce_id: str
    value: bytes
    received_at: datetime


class PendingFacts:
    """Facts that came before their message. The fact's side puts first and looks second."""

    def __init__(self, database: Database) -> None:
        self._collection = database[PENDING]

    async def ensure_indexes(self) -> None:
        with transient_errors():
            await self._collection.create_index("refs", name="refs")
            await self._collection.create_index(
                "received_at",
                name="kept",
                expireAfterSeconds=int(PENDING_KEPT.total_seconds()),
            )

    async def put(self, facts: Sequence[PendingFact]) -> None:
        """Keeps them; repeated ones once."""
        if not facts:
            return
        with transient_errors():
            await self._collection.bulk_write(
                [
                    ReplaceOne(
                        {"_id": fact.key},
                        {
                            "_id": fact.key,
                            "refs": list(fact.refs),
                            "tenant": fact.tenant,
                            "kind": fact.kind,
                            "ce_id": fact.ce_id,
                            "value": fact.value,
                            "received_at": fact.received_at,
                        },
                        upsert=True,
                    )
                    for fact in facts
                ],
                ordered=False,
                session=causal_session(),
            )

    async def waiting_for(self, refs: Sequence[str]) -> list[PendingFact]:
        """The facts that wait for any of these ids or wamid keys."""
        if not refs:
            return []
        with transient_errors():
            docs = await self._collection.find(
                {"refs": {"$in": list(refs)}}, session=causal_session()
            ).to_list(None)
        return [
            PendingFact(
                key=doc["_id"],
                refs=tuple(doc["refs"]),
                tenant=doc["tenant"],
                kind=doc["kind"],
                ce_id=doc["ce_id"],
                value=doc["value"],
                received_at=doc["received_at"],
            )
            for doc in docs
        ]

    async def remove(self, keys: Sequence[str]) -> None:
        if not keys:
            return
        with transient_errors():
            await self._collection.delete_many({"_id": {"$in": list(keys)}})


class ChangeStore:
    """Webhook changes that are recorded as they came."""

    def __init__(self, database: Database) -> None:
        self._collection = database[CHANGES]

    async def ensure_indexes(self) -> None:
        with transient_errors():
            await self._collection.create_index([("tenant", 1), ("received_at", -1)])
            await self._collection.create_index(
                "received_at",
                name="kept",
                expireAfterSeconds=int(CHANGES_KEPT.total_seconds()),
            )

    async def add(self, changes: Sequence[dict[str, Any]]) -> None:
        """Stores documents with `_id`; repeated ones once."""
        if not changes:
            return
        with transient_errors():
            try:
                await self._collection.insert_many(changes, ordered=False)
            except BulkWriteError as error:
                if any(e["code"] != DUPLICATE_KEY for e in error.details["writeErrors"]):
                    raise
