"""Notes that name an agent, by whom they name; and how far each agent has looked at theirs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from services.inbox.decisions.lifecycle import Viewer
from services.inbox.model.events import Line
from services.inbox.storage.conversations import LIST_MS, MENTION_MARKS
from services.inbox.storage.entries import ACTIVITIES
from services.inbox.storage.sights import Place
from services.inbox.storage.threads import activity_of
from shared.mongo.client import Database, Document, transient_errors

MENTIONS = "mentions"
_NAMED = "data.mentions.id"


@dataclass(frozen=True, slots=True)
class Mention:
    """A line of a conversation's internal log that names somebody."""

    conversation: str
    line: Line

    @property
    def id(self) -> str:
        return self.line.id

    @property
    def at(self) -> datetime:
        return self.line.at


class MentionStore:
    """Only lines that name somebody are in the index; all others cost it nothing."""

    def __init__(self, database: Database) -> None:
        self._activities = database[ACTIVITIES]
        self._marks = database[MENTION_MARKS]

    async def ensure_indexes(self) -> None:
        with transient_errors():
            await self._activities.create_index(
                [("tenant", 1), (_NAMED, 1), ("at", 1), ("_id", 1)],
                name=MENTIONS,
                partialFilterExpression={_NAMED: {"$gt": ""}},
            )
            await self._marks.create_index("tenant")

    async def find(self, viewer: Viewer, *, after: Place | None, limit: int) -> list[Mention]:
        """The newest lines that name the viewer, whether they see them or not."""
        with transient_errors():
            docs = await (
                self._activities.find(mentions_query(viewer.tenant, viewer.agent, after))
                .sort([("at", -1), ("_id", -1)])
                .hint(MENTIONS)
                .limit(limit)
                .max_time_ms(LIST_MS)
                .to_list(None)
            )
        return [Mention(doc["conversation"], activity_of(doc)) for doc in docs]

    async def seen_until(self, viewer: Viewer) -> datetime | None:
        """How far the viewer has looked at their mentions."""
        with transient_errors():
            doc = await self._marks.find_one({"_id": _mark(viewer), "tenant": viewer.tenant})
        return None if doc is None else doc["seen_until"]

    async def see(self, viewer: Viewer, until: datetime) -> datetime:
        """Notes that they looked so far; never back."""
        with transient_errors():
            await self._marks.update_one(
                {"_id": _mark(viewer), "tenant": viewer.tenant},
                {"$max": {"seen_until": until}},
                upsert=True,
            )
        return await self.seen_until(viewer) or until


def mentions_query(tenant: str, agent: str, after: Place | None) -> Document:
    """By the index of mentions, in its order."""
    query: Document = {"tenant": tenant, _NAMED: agent}
    if after is not None:
        at, last = after
        query["$and"] = [{"at": {"$lte": at}}, {"$nor": [{"at": at, "_id": {"$gte": last}}]}]
    return query


def _mark(viewer: Viewer) -> str:
    return f"{viewer.tenant}:{viewer.agent}"
