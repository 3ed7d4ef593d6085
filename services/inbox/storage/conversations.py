"""Lists, counts and threads of conversations. Single ones are read through their log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from services.inbox.decisions.listing import ACTIVITY, WAITING, WINDOW
from services.inbox.model.conversation import Conversation
from services.inbox.storage.accounts import ACCOUNT_NEWS
from services.inbox.storage.api_keys import API_KEYS
from services.inbox.storage.audit import AUDIT
from services.inbox.storage.catalogue import CATALOGUE
from services.inbox.storage.channels import SENDING
from services.inbox.storage.contacts import CONTACTS, IDENTITIES
from services.inbox.storage.documents import conversation_of
from services.inbox.storage.drafts import DRAFTS
from services.inbox.storage.entries import ACTIVITIES, CONVERSATIONS, ERASURES, MESSAGES
from services.inbox.storage.episode_documents import EPISODES
from services.inbox.storage.messages import CHANGES, PENDING
from services.inbox.storage.presence import PRESENCE
from services.inbox.storage.sessions import SESSIONS
from services.inbox.storage.tallies import REFUSALS, REPEATS, TALLIES
from services.inbox.storage.templates import READINGS, TEMPLATES
from shared.contracts.views import Status
from shared.mongo.client import Database, Document, drop_index, transient_errors
from shared.mongo.parking import MongoParking

SEARCH = "search"
MENTION_MARKS = "mention_marks"
WORDS = "words"
"""The index by words of what has some: messages, contacts."""
_ON_HOLD = {"status": Status.ON_HOLD.value}
_CLOSED = {"status": Status.CLOSED.value}
_ACTIVE = [Status.BOT.value, Status.ON_HOLD.value, Status.OPEN.value]
_OF_TENANT = (
    ACCOUNT_NEWS,
    AUDIT,
    SESSIONS,
    MESSAGES,
    ACTIVITIES,
    EPISODES,
    CONVERSATIONS,
    CONTACTS,
    IDENTITIES,
    PENDING,
    CHANGES,
    CATALOGUE,
    DRAFTS,
    SEARCH,
    MENTION_MARKS,
    API_KEYS,
    PRESENCE,
    TALLIES,
    REFUSALS,
    REPEATS,
    SENDING,
    TEMPLATES,
    READINGS,
)
LIST_MS = 5000
"""A list that takes longer (a search through very many chats) is broken off: 503."""

_RETIRED = ("mine_window", "all_window")
"""Indexes of before: they would only cost."""
_HELD = {"assignee": {"$gt": ""}}
INDEXES: Mapping[str, tuple[tuple[str, ...], Document | None]] = {
    # Every message moves its conversation in each index on ACTIVITY: the dearest thing that it
    # costs MongoDB. A chat that nobody holds is in none of the holders' indexes.
    # One holder's chats: also the count that keeps routing within capacity.
    "mine_activity": (("tenant", "assignee", "status", "deleted", ACTIVITY, "_id"), _HELD),
    "mine_closing": (("tenant", "assignee", "status", "deleted", WINDOW, "_id"), _HELD),
    "all_activity": (("tenant", "status", "deleted", ACTIVITY, "_id"), None),
    "all_closing": (("tenant", "status", "deleted", WINDOW, "_id"), None),
    # On Hold is small; in its other orders the teams are filtered from those of all.
    "queue_waiting": (("tenant", "status", "team", "deleted", WAITING, "_id"), _ON_HOLD),
    "all_waiting": (("tenant", "status", "deleted", WAITING, "_id"), _ON_HOLD),
    # What else a chat of the past is looked for by: these move when one is closed or opened again.
    "closed_label": (
        ("tenant", "labels", "status", "deleted", ACTIVITY, "_id"),
        {"status": Status.CLOSED.value, "labels": {"$gt": ""}},
    ),
    "closed_number": (("tenant", "number", "status", "deleted", ACTIVITY, "_id"), _CLOSED),
    "closed_team": (("tenant", "team", "status", "deleted", ACTIVITY, "_id"), _CLOSED),
    # The same of the others, without an order: only few are taken by these, and ordered then.
    "active_label": (
        ("tenant", "labels", "status", "deleted"),
        {"status": {"$in": _ACTIVE}, "labels": {"$gt": ""}},
    ),
    "active_number": (("tenant", "number", "status", "deleted"), {"status": {"$in": _ACTIVE}}),
    "active_team": (("tenant", "team", "status", "deleted"), {"status": {"$in": _ACTIVE}}),
    "priority": (("tenant", "priority", "status", "deleted"), {"priority": {"$gt": ""}}),
    # Changes when the first message comes and when all are read.
    "has_unread": (
        ("tenant", "has_unread", "status", "deleted", "assignee", "team"),
        {"has_unread": True},
    ),
    # Few and rarely changed: counts take them from the whole.
    "asleep": (
        ("tenant", "status", "deleted", "assignee", "team", "snoozed_until"),
        {"snoozed_until": {"$gt": datetime(2000, 1, 1, tzinfo=UTC)}},
    ),
    # How many there are is the sum of what came and never changes, see `workflows.counting`.
    "created": (("tenant", "created_at"), None),
    "tombstones": (("tenant", "deleted", "updated_at"), {"deleted": True}),
    "contact": (("tenant", "contact.id"), None),
    "active": (("tenant", "_id"), {"status": {"$in": _ACTIVE}}),
    # Across tenants, for the timers. The member moves about once a day, see `decisions.timers`.
    "due": (("due_at",), {"due_at": {"$type": "date"}}),
}


@dataclass(frozen=True, slots=True)
class ActivePage:
    """Conversations that are not closed, by tenant and id."""

    items: list[Conversation]
    after: tuple[str, str] | None


class ConversationStore:
    """Reads by query: of the state alone, without what is in the outbox."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._collection = database[CONVERSATIONS]
        self._parking = MongoParking(database)

    async def ensure_indexes(self) -> None:
        for name, (keys, partial) in INDEXES.items():
            options: dict[str, Any] = {"name": name}
            if partial is not None:
                options["partialFilterExpression"] = partial
            with transient_errors():
                await self._collection.create_index([(key, 1) for key in keys], **options)
        for name in _RETIRED:
            await drop_index(self._collection, name)
        with transient_errors():
            await self._database[CONTACTS].create_index(
                [("tenant", 1), ("labels", 1)], name="labels"
            )
            # Names and phones, by the beginnings of their words.
            await self._database[CONTACTS].create_index([("tenant", 1), (WORDS, 1)], name=WORDS)

    async def of_contacts(
        self, tenant: str, contacts: Sequence[str], *, deleted: bool = False
    ) -> list[Conversation]:
        """All conversations of contacts that are not deleted; or the tombstones alone."""
        query = {"tenant": tenant, "contact.id": {"$in": list(contacts)}, "deleted": deleted}
        with transient_errors():
            docs = await self._collection.find(query, {"outbox": 0}).to_list(None)
        return [_conversation(doc) for doc in docs]

    async def contacts_with(self, tenant: str, label: str, limit: int = 500) -> list[str]:
        """Some of the contacts that have a label."""
        with transient_errors():
            docs = await (
                self._database[CONTACTS]
                .find({"tenant": tenant, "labels": label, "merged_into": None}, {"_id": 1})
                .limit(limit)
                .to_list(None)
            )
        return [doc["_id"] for doc in docs]

    async def marked_contacts(self, contacts: Sequence[str]) -> list[tuple[str, str]]:
        """Those that are blocked, have labels, or were merged into another: (tenant, id)."""
        marks: list[Document] = [
            {"blocked": True},
            {"labels.0": {"$exists": True}},
            {"merged_into": {"$type": "string"}},
        ]
        with transient_errors():
            docs = await (
                self._database[CONTACTS]
                .find({"_id": {"$in": list(contacts)}, "$or": marks}, {"tenant": 1})
                .to_list(None)
            )
        return [(doc["tenant"], doc["_id"]) for doc in docs]

    async def has_active(self, tenant: str, number: str) -> bool:
        """Whether a number has a conversation that is not closed."""
        with transient_errors():
            found = await self._collection.find_one(
                {"tenant": tenant, "number": number, "status": {"$in": _ACTIVE}}, {"_id": 1}
            )
        return found is not None

    async def ids_of(self, tenant: str, holder: Document, statuses: Sequence[Status]) -> list[str]:
        """The conversations of a holder or a team in some statuses."""
        query = {"tenant": tenant, **holder, "status": {"$in": [s.value for s in statuses]}}
        with transient_errors():
            docs = await self._collection.find(query, {"_id": 1}).to_list(None)
        return [doc["_id"] for doc in docs]

    async def due(self, now: datetime, limit: int) -> list[str]:
        """Conversations of which a timer may be due, the longest due first."""
        with transient_errors():
            docs = await (
                self._collection.find({"due_at": {"$type": "date", "$lte": now}}, {"_id": 1})
                .sort("due_at", 1)
                .limit(limit)
                .to_list(None)
            )
        return [doc["_id"] for doc in docs]

    async def put_off(self, conversation: Conversation, due_at: datetime | None) -> None:
        """Moves the timers of a conversation that is unchanged; no event, the version stays.

        A compare-and-set that was decided before may put the earlier time back: that only has
        the timers looked at once more.
        """
        update: Document = (
            {"$unset": {"due_at": ""}} if due_at is None else {"$set": {"due_at": due_at}}
        )
        with transient_errors():
            await self._collection.update_one(
                {"_id": conversation.id, "version": conversation.version}, update
            )

    async def erase(self, tenant: str) -> None:
        """Deletes all that is kept of a tenant; its files and late writes follow (`erasures`)."""
        at = datetime.now(UTC)
        note = {"tenant": tenant, "conversation": None, "round": 0, "at": at, "due_at": at}
        with transient_errors():
            await self._database[ERASURES].update_one(
                {"_id": f"tenant:{tenant}"}, {"$setOnInsert": note}, upsert=True
            )
        await self.erase_documents(tenant)

    async def erase_documents(self, tenant: str) -> None:
        """Deletes every document of a tenant but the directory's own."""
        await self._parking.forget(tenant)
        with transient_errors():
            for name in _OF_TENANT:
                await self._database[name].delete_many({"tenant": tenant})

    async def active(
        self, tenant: str | None, *, after: tuple[str, str] | None, limit: int
    ) -> ActivePage:
        """Conversations that are not closed, of one tenant or of all."""
        # A bound on the tenant in every case: without one the planner passes the index by.
        query: Document = {"status": {"$in": _ACTIVE}, "tenant": tenant or {"$gte": ""}}
        if after is not None:
            last_tenant, last_id = after
            same: Document = {"tenant": last_tenant, "_id": {"$gt": last_id}}
            if not tenant:
                query["tenant"] = {"$gte": last_tenant}
                query["$or"] = [{"tenant": {"$gt": last_tenant}}, same]
            else:
                query["_id"] = same["_id"]
        with transient_errors():
            docs = await (
                self._collection.find(query, {"outbox": 0})
                .sort([("tenant", 1), ("_id", 1)])
                .limit(limit + 1)
                .to_list(None)
            )
        items = [_conversation(doc) for doc in docs[:limit]]
        last = items[-1] if len(docs) > limit else None
        return ActivePage(items, None if last is None else (last.tenant, last.id))


def _conversation(doc: Document) -> Conversation:
    return conversation_of(doc["_id"], doc["version"], doc)
