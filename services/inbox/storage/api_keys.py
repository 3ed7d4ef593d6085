"""API keys in MongoDB, found by the hash of their text."""

from __future__ import annotations

import hashlib

from pymongo import ASCENDING
from pymongo.errors import DuplicateKeyError

from services.inbox.model.api_keys import ApiKey, Scope
from shared.mongo.client import Database, Document, transient_errors

API_KEYS = "api_keys"


def digest_of(text: str) -> str:
    """What is kept of a key's text: it has 256 random bits, so a plain hash tells nothing."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


class ApiKeyStore:
    """A removed key is gone at once: nobody remembers one between two calls."""

    def __init__(self, database: Database) -> None:
        self._keys = database[API_KEYS]

    async def ensure_indexes(self) -> None:
        with transient_errors():
            await self._keys.create_index("digest", name="digest", unique=True)
            await self._keys.create_index(
                [("tenant", ASCENDING), ("_id", ASCENDING)], name="tenant_list"
            )

    async def insert(self, key: ApiKey, digest: str) -> bool:
        """False when there is one under this id already."""
        try:
            with transient_errors():
                await self._keys.insert_one(_document(key, digest))
        except DuplicateKeyError:
            return False
        return True

    async def by_text(self, text: str) -> ApiKey | None:
        """The key of whichever tenant that has this text."""
        with transient_errors():
            found = await self._keys.find_one({"digest": digest_of(text)})
        return None if found is None else _key(found)

    async def find(self, tenant: str, key_id: str) -> ApiKey | None:
        with transient_errors():
            found = await self._keys.find_one({"_id": key_id, "tenant": tenant})
        return None if found is None else _key(found)

    async def page(
        self, tenant: str, *, limit: int, after: str | None
    ) -> tuple[list[ApiKey], str | None]:
        """Keys by id, and where the next page begins."""
        query: Document = {"tenant": tenant}
        if after is not None:
            query["_id"] = {"$gt": after}
        with transient_errors():
            found = await self._keys.find(query).sort("_id", 1).limit(limit + 1).to_list(None)
        more = len(found) > limit
        return [_key(doc) for doc in found[:limit]], found[limit - 1]["_id"] if more else None

    async def remove(self, tenant: str, key_id: str) -> bool:
        """False when the tenant has no such key."""
        with transient_errors():
            gone = await self._keys.delete_one({"_id": key_id, "tenant": tenant})
        return gone.deleted_count == 1


def _document(key: ApiKey, digest: str) -> Document:
    return {
        "_id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "scopes": sorted(scope.value for scope in key.scopes),
        "numbers": sorted(key.number_ids),
        "created_at": key.created_at,
        "created_by": key.created_by,
        "digest": digest,
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
