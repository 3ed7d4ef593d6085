"""Which agents have no socket, and since when: what notifier tells, as far as it matters here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pymongo.errors import DuplicateKeyError

from shared.mongo.client import Database, Document, transient_errors

PRESENCE = "presence"
_FORGET = timedelta(minutes=5)
"""A counter that was not repeated for so long is lost: the next one may be lower."""


@dataclass(frozen=True, slots=True)
class Gone:
    """An agent without a socket; `settled_at`: when their chats were looked at first."""

    tenant: str
    agent: str
    since: datetime
    settled_at: datetime | None = None


class PresenceStore:
    """One document per agent. Who is there, or was settled twice, is in no index."""

    def __init__(self, database: Database) -> None:
        self._presence = database[PRESENCE]

    async def ensure_indexes(self) -> None:
        with transient_errors():
            await self._presence.create_index(
                "gone_at", name="gone", partialFilterExpression={"gone_at": {"$type": "date"}}
            )

    async def take(self, gone: Gone, sequence: int, *, present: bool, now: datetime) -> None:
        """Takes a state unless a newer one is known; its repeat only says that it still holds."""
        key = f"{gone.tenant}:{gone.agent}"
        newer: Document = {
            "_id": key,
            "$or": [{"sequence": {"$lt": sequence}}, {"seen_at": {"$lt": now - _FORGET}}],
        }
        update: Document = {
            "$set": {
                "tenant": gone.tenant,
                "agent": gone.agent,
                "sequence": sequence,
                "seen_at": now,
            },
            "$unset": {"settled_at": ""},
        }
        if present:
            update["$unset"]["gone_at"] = ""
        else:
            update["$set"]["gone_at"] = gone.since
        try:
            with transient_errors():
                await self._presence.update_one(newer, update, upsert=True)
        except DuplicateKeyError:
            with transient_errors():
                await self._presence.update_one(
                    {"_id": key, "sequence": sequence}, {"$set": {"seen_at": now}}
                )

    async def gone(self, limit: int) -> list[Gone]:
        """Who is gone and not settled, the longest gone first."""
        with transient_errors():
            found = await (
                self._presence.find({"gone_at": {"$type": "date"}})
                .sort("gone_at", 1)
                .limit(limit)
                .to_list(None)
            )
        return [Gone(d["tenant"], d["agent"], d["gone_at"], d.get("settled_at")) for d in found]

    async def settled(self, gone: Gone, now: datetime, *, wholly: bool) -> None:
        """Notes that the chats were looked at; unless the agent came or went meanwhile."""
        query = {"_id": f"{gone.tenant}:{gone.agent}", "gone_at": gone.since}
        update: Document = {"$unset": {"gone_at": ""}} if wholly else {"$set": {"settled_at": now}}
        with transient_errors():
            await self._presence.update_one(query, update)
