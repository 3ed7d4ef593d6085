"""What one creating request is known by, so that its repeat finds its own work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from services.inbox.model.entities import Entity
from services.inbox.storage.claims import ClaimKind, Claims
from shared.ids import IdHasher, new_id
from shared.mongo.headlog import ROUNDS, ContentionError

E = TypeVar("E", bound=Entity)


@dataclass(frozen=True, slots=True)
class Creation:
    """Made once per request: a candidate for the id, the mark of the creator, the time."""

    id: str
    created_by: str
    at: datetime


class Creations:
    """Begins creations. With an `Idempotency-Key` both ids are derived from it."""

    def __init__(self, ids: IdHasher, clock: Callable[[], datetime]) -> None:
        self._ids = ids
        self._clock = clock

    def begin(self, kind: str, tenant: str, key: str | None) -> Creation:
        if key is None:
            return Creation(new_id(), new_id(), self._clock())
        return Creation(
            self._ids.of(kind, tenant, "key", key),
            self._ids.of("creation", kind, tenant, key),
            self._clock(),
        )


async def create_claimed(
    claims: Claims, kind: ClaimKind, value: str, create: Callable[[str], Awaitable[E]]
) -> E:
    """Creates the entity that a unique value stands for; the answer may be somebody else's.

    `create` is told the id to use and answers with what is there under it afterwards. The value
    of a deleted entity goes to a new id. Raises ContentionError.
    """
    for _ in range(ROUNDS):
        owner = await claims.take(kind, value, new_id())
        found = await create(owner)
        if not found.deleted:
            return found
        await claims.pass_on(kind, value, owner, new_id())
    raise ContentionError("the value changes hands too fast")
