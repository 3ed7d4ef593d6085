"""News of accounts: documents that are added and never changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from pymongo import ASCENDING, DESCENDING
from pymongo.errors import BulkWriteError

from services.inbox.model.accounts import AccountNews, TemplateRef
from shared.mongo.client import DUPLICATE_KEY, Database, Document, transient_errors

ACCOUNT_NEWS = "account_news"
NEWS_KEPT = timedelta(days=400)


@dataclass(frozen=True, slots=True)
class NewsQuery:
    """None: any."""

    field: str | None = None
    number_id: str | None = None


class AccountNewsStore:
    """Adds and reads."""

    def __init__(self, database: Database) -> None:
        self._news = database[ACCOUNT_NEWS]

    async def ensure_indexes(self) -> None:
        with transient_errors():
            for before in ([], [("field", ASCENDING)], [("number_id", ASCENDING)]):
                await self._news.create_index(
                    [("tenant", ASCENDING), *before, ("at", DESCENDING), ("_id", DESCENDING)]
                )
            await self._news.create_index(
                "at", name="kept", expireAfterSeconds=int(NEWS_KEPT.total_seconds())
            )

    async def add(self, news: Sequence[AccountNews]) -> list[AccountNews]:
        """Keeps what is not there; answers with what is, so that a repeat tells the same."""
        ids = [each.id for each in news]
        with transient_errors():
            try:
                await self._news.insert_many([_document(each) for each in news], ordered=False)
            except BulkWriteError as error:
                if any(e["code"] != DUPLICATE_KEY for e in error.details["writeErrors"]):
                    raise
            docs = await self._news.find({"_id": {"$in": ids}}).to_list(None)
        kept = {doc["_id"]: _news(doc) for doc in docs}
        return [kept[each] for each in dict.fromkeys(ids) if each in kept]

    async def page(
        self, tenant: str, query: NewsQuery, *, after: tuple[datetime, str] | None, limit: int
    ) -> tuple[list[AccountNews], tuple[datetime, str] | None]:
        """A tenant's news, the latest first, and where the next page begins."""
        found: Document = {"tenant": tenant}
        if query.field is not None:
            found["field"] = query.field
        if query.number_id is not None:
            found["number_id"] = query.number_id
        if after is not None:
            at, news_id = after
            found["$or"] = [{"at": {"$lt": at}}, {"at": at, "_id": {"$lt": news_id}}]
        with transient_errors():
            docs = await (
                self._news.find(found)
                .sort([("at", DESCENDING), ("_id", DESCENDING)])
                .limit(limit + 1)
                .to_list(None)
            )
        more = len(docs) > limit
        docs = docs[:limit]
        return [_news(doc) for doc in docs], (docs[-1]["at"], docs[-1]["_id"]) if more else None


def _document(news: AccountNews) -> Document:
    members = asdict(news)
    return {"_id": members.pop("id"), **members}


def _news(doc: Mapping[str, Any]) -> AccountNews:
    members = dict(doc)
    template = members.pop("template")
    return AccountNews(
        id=members.pop("_id"),
        template=None if template is None else TemplateRef(**template),
        **members,
    )
