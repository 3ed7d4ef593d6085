"""Makes, shows and removes API keys, and recognises who calls with one."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.inbox.model.api_keys import ApiKey, Scope
from services.inbox.model.entities import Number, Tenant
from services.inbox.model.errors import RefusedError, invalid, not_found
from services.inbox.model.people import Person
from services.inbox.storage.api_keys import ApiKeyStore, digest_of
from services.inbox.storage.directory import DirectoryStore
from services.inbox.workflows.requests import Creations
from shared.contracts.views import Role
from shared.ids import IdHasher

PREFIX = "atk_"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key with its text, which is told this once."""

    key: ApiKey
    text: str


class ApiKeys:
    """What is granted is judged anew in every call: the key, its tenant, its numbers."""

    def __init__(
        self,
        store: ApiKeyStore,
        directory: DirectoryStore,
        creations: Creations,
        ids: IdHasher,
        clock: Callable[[], datetime],
    ) -> None:
        self.store = store
        self._clock = clock
        self._directory = directory
        self._creations = creations
        self._ids = ids

    async def create(
        self,
        by: Person,
        name: str,
        scopes: Sequence[Scope],
        number_ids: Sequence[str],
        key: str | None,
    ) -> NewKey:
        """Refuses with `validation` for numbers that are not there.

        With an `Idempotency-Key` the text is derived from it, so that a repeat tells it again.
        """
        for place, number_id in enumerate(number_ids):
            if await self._directory.find(Number, by.tenant, number_id) is None:
                raise invalid(f"number_ids.{place}", "unknown")
        creation = self._creations.begin("api_key", by.tenant, key)
        secret = secrets.token_hex(32)
        if key is not None:
            halves = (self._ids.of("api_key_text", half, by.tenant, key) for half in "ab")
            secret = "".join(halves)
        text = PREFIX + secret
        made = ApiKey(
            id=creation.id,
            tenant=by.tenant,
            name=name,
            scopes=frozenset(scopes),
            number_ids=frozenset(number_ids),
            created_at=creation.at,
            created_by=by.id,
        )
        return NewKey(await self.store.insert(made, digest_of(text)), text)

    async def get(self, tenant: str, key_id: str) -> ApiKey:
        """Refuses with `not_found`."""
        found = await self.store.find(tenant, key_id)
        if found is None:
            raise not_found()
        return found

    async def remove(self, tenant: str, key_id: str) -> None:
        """Refuses with `not_found`."""
        await self.store.remove(tenant, key_id, self._clock())

    async def recognise(self, text: str) -> Person:
        """The bot that calls, as of now. Refuses with `unauthorized`."""
        key = await self.store.by_text(text)
        if key is None or Scope.BOT not in key.scopes:
            raise RefusedError("unauthorized")
        view = self._directory.view
        tenant = view.tenant(key.tenant)
        if tenant is None:
            await self._directory.find(Tenant, key.tenant, key.tenant)
            tenant = view.tenant(key.tenant)
        if tenant is None or tenant.status != "active":
            raise RefusedError("unauthorized")
        return Person(key.id, key.tenant, key.name, Role.AGENT, (), numbers=key.number_ids)
