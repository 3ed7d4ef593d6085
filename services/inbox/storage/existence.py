"""What a tenant still has in the directory, for what outlives it: chats, webhooks on their way."""

from __future__ import annotations

from collections.abc import Collection

from services.inbox.model.entities import Number, Team, Tenant
from services.inbox.storage.directory import COLLECTION
from services.inbox.storage.directory_documents import head_id
from services.inbox.storage.directory_view import DirectoryView
from shared.mongo.client import Database, Document, transient_errors


class Existence:
    """By the directory in memory; what that lacks is looked up.

    What another process deleted may be there for a moment more.
    """

    def __init__(self, database: Database, view: DirectoryView) -> None:
        self._directory = database[COLLECTION]
        self._view = view

    async def erased_tenants(self, asked: Collection[str]) -> set[str]:
        """Those that are erased: a tenant's tombstone stays for good."""
        unknown = [head_id(Tenant, each) for each in asked if self._view.tenant(each) is None]
        found = await self._find({"_id": {"$in": unknown}, "deleted": True}) if unknown else []
        return {doc["tenant"] for doc in found}

    async def gone_teams(self, asked: Collection[tuple[str, str]]) -> frozenset[str]:
        """Those of the teams, given as (tenant, team), that are not there (any more)."""
        unknown = {each for each in asked if self._view.team(*each) is None}
        if not unknown:
            return frozenset()
        ids = [head_id(Team, team) for _, team in unknown]
        found = await self._find({"_id": {"$in": ids}, "deleted": False})
        there = {(doc["tenant"], doc["id"]) for doc in found}
        return frozenset(team for _, team in unknown - there)

    async def has_number(self, tenant: str, number_id: str) -> bool:
        if self._view.number(tenant, number_id) is not None:
            return True
        query = {"_id": head_id(Number, number_id), "tenant": tenant, "deleted": False}
        return bool(await self._find(query))

    async def _find(self, query: Document) -> list[Document]:
        with transient_errors():
            return await self._directory.find(query, {"tenant": 1, "id": 1}).to_list(None)
