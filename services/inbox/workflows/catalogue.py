"""Keeps the tenant's catalogues: close reasons and canned replies."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from services.inbox.model.catalogue import CannedReply, CatalogueItem, CloseReason
from services.inbox.storage.catalogue import CataloguePage, CatalogueStore
from services.inbox.workflows.requests import Creations

C = TypeVar("C", bound=CatalogueItem)


class Catalogue:
    """Items are created, changed and deleted by the admin, and read by everybody."""

    def __init__(
        self, store: CatalogueStore, creations: Creations, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._creations = creations
        self._clock = clock

    async def create_reason(self, tenant: str, name: str, key: str | None) -> CloseReason:
        creation = self._creations.begin("close_reason", tenant, key)
        reason = CloseReason(id=creation.id, tenant=tenant, name=name)
        return await self._store.create(reason, creation.created_by, creation.at)

    async def create_reply(
        self, tenant: str, name: str, text: str, shortcut: str | None, key: str | None
    ) -> CannedReply:
        creation = self._creations.begin("canned_reply", tenant, key)
        reply = CannedReply(id=creation.id, tenant=tenant, name=name, text=text, shortcut=shortcut)
        return await self._store.create(reply, creation.created_by, creation.at)

    async def get(self, kind: type[C], tenant: str, item_id: str) -> C:
        return await self._store.get(kind, tenant, item_id)

    async def page(
        self, kind: type[C], tenant: str, *, limit: int, after: str | None
    ) -> CataloguePage[C]:
        return await self._store.page(kind, tenant, limit=limit, after=after)

    async def change(self, kind: type[C], tenant: str, item_id: str, patch: dict[str, Any]) -> C:
        """Replaces members; nothing to replace changes nothing. Refuses with `not_found`."""
        if not patch:
            return await self._store.get(kind, tenant, item_id)
        return await self._store.change(kind, tenant, item_id, patch, self._clock())

    async def delete(self, kind: type[C], tenant: str, item_id: str) -> None:
        """Nobody can choose it any more; what names it still shows it."""
        await self._store.delete(kind, tenant, item_id, self._clock())
