"""Which agents have no socket, and since when: what notifier tells, as far as it matters here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pymongo.errors import DuplicateKeyError

from shared.mongo.client import Database, Document, drop_index, transient_errors

PRESENCE = "presence"
_FORGET = timedelta(minutes=5)
"""A counter that was not repeated for so long is lost: the next one may be lower."""
_RETIRED = "gone"


@dataclass(frozen=True, slots=True)
class Gone:
    """An agent without a socket; `settled_at`: when their chats were looked at first."""

    tenant: str
    agent: str
    since: datetime
    settled_at: datetime | None = None


class PresenceStore:
    """One document per agent. Who is there, or was settled twice, is in no index.

    `due_at` is when somebody who is gone is to be looked at.
    """

    def __init__(self, database: Database) -> None:
        self._presence = database[PRESENCE]

    async def ensure_indexes(self) -> None:
        with transient_errors():
            await self._presence.create_index(
                "due_at", name="due", partialFilterExpression={"due_at": {"$type": "date"}}
            )
            if _RETIRED in await self._presence.index_information():
                # Who was gone before there was a `due_at` is looked at once.
                await self._presence.update_many(
                    {"gone_at": {"$type": "date"}, "due_at": None},
                    [{"$set": {"due_at": "$gone_at"}}],
                )
        await drop_index(self._presence, _RETIRED)

    async def take(
        self, gone: Gone, sequence: int, *, due_at: datetime | None, now: datetime
    ) -> None:
        """Takes a state unless a newer one is known; its repeat only says that it still holds.

        `due_at` None: the agent is there.
        """
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
        if due_at is None:
            update["$unset"] |= {"gone_at": "", "due_at": ""}
        else:
            update["$set"] |= {"gone_at": gone.since, "due_at": due_at}
        try:
            with transient_errors():
                await self._presence.update_one(newer, update, upsert=True)
        except DuplicateKeyError:
            with transient_errors():
                await self._presence.update_one(
                    {"_id": key, "sequence": sequence}, {"$set": {"seen_at": now}}
                )

    async def due(self, now: datetime, limit: int) -> list[Gone]:
        """Who is to be looked at by now, the longest due first."""
        with transient_errors():
            found = await (
                self._presence.find(due_query(now)).sort("due_at", 1).limit(limit).to_list(None)
            )
        return [Gone(d["tenant"], d["agent"], d["gone_at"], d.get("settled_at")) for d in found]

    async def put_off(self, gone: Gone, due_at: datetime) -> None:
        """Nothing is to be done before."""
        await self._note(gone, {"$set": {"due_at": due_at}})

    async def settled_first(self, gone: Gone, now: datetime, due_at: datetime) -> None:
        """The chats were looked at, and will be again."""
        await self._note(gone, {"$set": {"settled_at": now, "due_at": due_at}})

    async def settled(self, gone: Gone) -> None:
        """The chats were looked at for the last time."""
        await self._note(gone, {"$unset": {"gone_at": "", "due_at": ""}})

    async def _note(self, gone: Gone, update: Document) -> None:
        """Unless the agent came or went meanwhile, or another pod was here before."""
        query = {
            "_id": f"{gone.tenant}:{gone.agent}",
            "gone_at": gone.since,
            "settled_at": gone.settled_at,
        }
        with transient_errors():
            await self._presence.update_one(query, update)


def due_query(now: datetime) -> Document:
    """Who is due, by the index of those alone."""
    return {"due_at": {"$type": "date", "$lte": now}, "gone_at": {"$type": "date"}}
