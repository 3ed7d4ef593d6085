"""An admin has the templates of a number's account read now."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from services.inbox.model.audit import AuditRecord, actor_now
from services.inbox.model.entities import Number
from services.inbox.model.errors import invalid
from services.inbox.storage.audit import AuditStore
from services.inbox.storage.directory import DirectoryStore
from services.inbox.workflows.templates import TemplateBook
from shared.ids import new_id


class Syncing:
    """Asks delivery; what it reads is shown as the tenant's templates."""

    def __init__(
        self,
        book: TemplateBook,
        directory: DirectoryStore,
        trail: AuditStore,
        clock: Callable[[], datetime],
    ) -> None:
        self._book = book
        self._directory = directory
        self._trail = trail
        self._clock = clock

    async def ask(self, tenant: str, number_id: str) -> None:
        """Refuses with `not_found`, or `validation` for a number without account."""
        number = await self._directory.get(Number, tenant, number_id)
        if number.waba_id is None:
            raise invalid("waba_id", "required")
        # Noted first, as every command that has no change of its own to be an effect of.
        await self._trail.add(
            AuditRecord(
                id=new_id(),
                tenant=tenant,
                at=self._clock(),
                actor=actor_now(),
                action="templates.sync_asked",
                target=("number", number.id),
            )
        )
        await self._book.ask(tenant, number.id)
