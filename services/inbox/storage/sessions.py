"""Sessions of people, and the failures of signing in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pymongo import ASCENDING, DESCENDING, ReturnDocument
from pymongo.errors import DuplicateKeyError

from services.inbox.decisions.lockout import Counted, Failures
from services.inbox.model.sessions import Session
from shared.ids import IdHasher
from shared.mongo.client import Database, Document, transient_errors
from shared.mongo.headlog import Patch

SESSIONS = "sessions"
FAILURES = "sign_in_failures"
LISTED = 100


class SessionStore:
    """One document per session, gone when it expired. Refresh tokens are kept as hashes."""

    def __init__(self, database: Database) -> None:
        self._sessions = database[SESSIONS]

    async def ensure_indexes(self) -> None:
        with transient_errors():
            await self._sessions.create_index(
                [("tenant", ASCENDING), ("agent", ASCENDING), ("created_at", DESCENDING)],
                name="of_agent",
            )
            await self._sessions.create_index("expires_at", name="expiry", expireAfterSeconds=0)

    async def add(self, session: Session) -> None:
        with transient_errors():
            await self._sessions.insert_one(
                {
                    "_id": session.id,
                    "tenant": session.tenant,
                    "agent": session.agent,
                    "created_at": session.created_at,
                    "used_at": session.used_at,
                    "expires_at": session.expires_at,
                    "generation": session.generation,
                    "token_hash": session.token_hash,
                    "client": session.client,
                }
            )

    async def find_any(self, session_id: str) -> Session | None:
        """The session of whichever tenant: a refresh token names nothing else."""
        with transient_errors():
            doc = await self._sessions.find_one({"_id": session_id})
        return None if doc is None else _session(doc)

    async def find(self, tenant: str, agent: str, session_id: str) -> Session | None:
        found = await self.find_any(session_id)
        return (
            found if found is not None and (found.tenant, found.agent) == (tenant, agent) else None
        )

    async def of(self, tenant: str, agent: str, now: datetime) -> list[Session]:
        """The latest sessions of an agent that neither expired nor were revoked by name."""
        query = {
            "tenant": tenant,
            "agent": agent,
            "revoked_at": {"$exists": False},
            "expires_at": {"$gt": now},
        }
        with transient_errors():
            docs = await (
                self._sessions.find(query)
                .sort("created_at", DESCENDING)
                .limit(LISTED)
                .to_list(None)
            )
        return [_session(doc) for doc in docs]

    async def rotate(
        self, session: Session, *, token_hash: str, now: datetime, expires_at: datetime
    ) -> bool:
        """Replaces the refresh token, once per generation; whether this call did."""
        with transient_errors():
            result = await self._sessions.update_one(
                {
                    "_id": session.id,
                    "generation": session.generation,
                    "revoked_at": {"$exists": False},
                },
                {
                    "$set": {"token_hash": token_hash, "used_at": now, "expires_at": expires_at},
                    "$inc": {"generation": 1},
                },
            )
        return bool(result.modified_count)


def revocation(session_id: str, agent_version: int, at: datetime) -> Patch:
    """The session's own mark, as an effect of the agent's version that revokes it."""
    return Patch(SESSIONS, session_id, "agent_version", agent_version, {"revoked_at": at})


def _session(doc: Mapping[str, Any]) -> Session:
    return Session(
        id=doc["_id"],
        tenant=doc["tenant"],
        agent=doc["agent"],
        created_at=doc["created_at"],
        used_at=doc["used_at"],
        expires_at=doc["expires_at"],
        generation=doc["generation"],
        token_hash=doc["token_hash"],
        client=doc["client"],
        revoked_at=doc.get("revoked_at"),
    )


class FailureStore:
    """Failures in a row by e-mail and by address, as keyed hashes; forgotten after `forget`."""

    def __init__(self, database: Database, ids: IdHasher, *, forget: timedelta) -> None:
        self._failures = database[FAILURES]
        self._ids = ids
        self._forget = forget

    async def ensure_indexes(self) -> None:
        with transient_errors():
            await self._failures.create_index("forget_at", name="expiry", expireAfterSeconds=0)

    async def of(
        self, values: Sequence[tuple[Counted, str]], now: datetime
    ) -> list[Failures | None]:
        """What is counted for each of the values."""
        ids = [self._id(kind, value) for kind, value in values]
        with transient_errors():
            docs = await self._failures.find({"_id": {"$in": ids}}).to_list(None)
        found = {doc["_id"]: doc for doc in docs if doc["forget_at"] > now}
        return [_failures(found[each]) if each in found else None for each in ids]

    async def add(self, kind: Counted, value: str, now: datetime) -> Failures:
        """Counts one more; what there is then."""
        again = {"$gt": ["$forget_at", now]}
        update: list[Document] = [
            {
                "$set": {
                    "count": {"$cond": [again, {"$add": ["$count", 1]}, 1]},
                    "last_at": now,
                    "forget_at": now + self._forget,
                }
            }
        ]
        try:
            return await self._counted(self._id(kind, value), update)
        except DuplicateKeyError:  # two first failures at once: the document is there now
            return await self._counted(self._id(kind, value), update)

    async def _counted(self, failure_id: str, update: list[Document]) -> Failures:
        with transient_errors():
            doc = await self._failures.find_one_and_update(
                {"_id": failure_id}, update, upsert=True, return_document=ReturnDocument.AFTER
            )
        return _failures(doc)

    async def clear(self, kind: Counted, value: str) -> None:
        with transient_errors():
            await self._failures.delete_one({"_id": self._id(kind, value)})

    def _id(self, kind: Counted, value: str) -> str:
        return self._ids.of("sign_in_failure", kind.value, value)


def _failures(doc: Mapping[str, Any]) -> Failures:
    return Failures(int(doc["count"]), doc["last_at"])
