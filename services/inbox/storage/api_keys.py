"""API keys in MongoDB, found by the hash of their text."""

from __future__ import annotations

import hashlib
from datetime import datetime

from pymongo import ASCENDING

from services.inbox.decisions.audit import audit_setting
from services.inbox.model.api_keys import ApiKey, Scope
from services.inbox.model.audit import actor_now
from services.inbox.model.errors import not_found
from services.inbox.storage.audit import audit_effects
from shared.mongo.client import Database, Document, transient_errors
from shared.mongo.headlog import Change, Entry, Head, HeadLog, Step

API_KEYS = "api_keys"


def digest_of(text: str) -> str:
    """What is kept of a key's text: it has 256 random bits, so a plain hash tells nothing."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


class ApiKeyStore:
    """A removed key is gone at once: nobody remembers one between two calls.

    Each is the head of a log whose entries hold nothing but the line of the audit trail.
    """

    def __init__(self, database: Database, log: HeadLog) -> None:
        self._keys = database[API_KEYS]
        self.log = log

    async def ensure_indexes(self) -> None:
        await self.log.ensure_indexes()
        with transient_errors():
            await self._keys.create_index("digest", name="digest", unique=True)
            await self._keys.create_index(
                [("tenant", ASCENDING), ("_id", ASCENDING)], name="tenant_list"
            )

    async def insert(self, key: ApiKey, digest: str) -> ApiKey:
        """Creates it, or answers with what was made under this id, even if it is removed."""

        async def decide(head: Head | None) -> Step[ApiKey]:
            if head is not None:
                return Step(_key({**head.state, "_id": head.id}))
            state = _document(key, digest)
            return Step(key, Change(key.id, 0, state, (_entry(None, key, 1, key.created_at),)))

        return await self.log.change(key.id, decide)

    async def by_text(self, text: str) -> ApiKey | None:
        """The key of whichever tenant that has this text."""
        with transient_errors():
            found = await self._keys.find_one({"digest": digest_of(text), "deleted": False})
        return None if found is None else _key(found)

    async def find(self, tenant: str, key_id: str) -> ApiKey | None:
        with transient_errors():
            found = await self._keys.find_one({"_id": key_id, "tenant": tenant, "deleted": False})
        return None if found is None else _key(found)

    async def page(
        self, tenant: str, *, limit: int, after: str | None
    ) -> tuple[list[ApiKey], str | None]:
        """Keys by id, and where the next page begins."""
        query: Document = {"tenant": tenant, "deleted": False}
        if after is not None:
            query["_id"] = {"$gt": after}
        with transient_errors():
            found = await self._keys.find(query).sort("_id", 1).limit(limit + 1).to_list(None)
        more = len(found) > limit
        return [_key(doc) for doc in found[:limit]], found[limit - 1]["_id"] if more else None

    async def remove(self, tenant: str, key_id: str, at: datetime) -> None:
        """Its document stays, and recognises nobody. Refuses with `not_found`."""

        async def decide(head: Head | None) -> Step[None]:
            if head is None or head.state["tenant"] != tenant or head.state["deleted"]:
                raise not_found()
            gone = _key({**head.state, "_id": head.id})
            entry = _entry(gone, None, head.version + 1, at)
            state = {**head.state, "deleted": True}
            return Step(None, Change(head.id, head.version, state, (entry,), head.unpublished))

        await self.log.change(key_id, decide)


def _entry(before: ApiKey | None, after: ApiKey | None, version: int, at: datetime) -> Entry:
    records = audit_setting(before, after, version=version, at=at, actor=actor_now())
    return Entry(version, documents=audit_effects(records))


def _document(key: ApiKey, digest: str) -> Document:
    return {
        "tenant": key.tenant,
        "name": key.name,
        "scopes": sorted(scope.value for scope in key.scopes),
        "numbers": sorted(key.number_ids),
        "created_at": key.created_at,
        "created_by": key.created_by,
        "digest": digest,
        "deleted": False,
    }


def _key(doc: Document) -> ApiKey:
    return ApiKey(
        id=doc["_id"],
        tenant=doc["tenant"],
        name=doc["name"],
        # Of a later version's scopes this one grants none.
        scopes=frozenset(Scope(name) for name in doc["scopes"] if name in set(Scope)),
        number_ids=frozenset(doc["numbers"]),
        created_at=doc["created_at"],
        created_by=doc["created_by"],
    )
