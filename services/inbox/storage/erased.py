"""Which tenants are erased, for what still arrives for them."""

from __future__ import annotations

from collections.abc import Collection

from services.inbox.model.entities import Tenant
from services.inbox.storage.directory import COLLECTION as DIRECTORY
from services.inbox.storage.directory_documents import head_id
from services.inbox.storage.directory_view import DirectoryView
from shared.mongo.client import Database, transient_errors


class ErasedTenants:
    """A tenant's tombstone stays in the directory for good."""

    def __init__(self, database: Database, view: DirectoryView) -> None:
        self._directory = database[DIRECTORY]
        self._view = view

    async def among(self, tenants: Collection[str]) -> set[str]:
        """Those that are erased. Nothing is read while the directory in memory has them all."""
        unknown = [head_id(Tenant, each) for each in tenants if self._view.tenant(each) is None]
        if not unknown:
            return set()
        with transient_errors():
            found: list[str] = await self._directory.distinct(
                "tenant", {"_id": {"$in": unknown}, "deleted": True}
            )
        return set(found)
