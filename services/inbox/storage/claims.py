"""What only one entity of the platform may have: an e-mail, a phone_number_id."""

from __future__ import annotations

from typing import Literal

from pymongo.errors import DuplicateKeyError

from shared.contracts.errors import TransientError
from shared.ids import IdHasher
from shared.mongo.client import Database, transient_errors

ClaimKind = Literal["email", "phone_number_id"]


class Claims:
    """Maps a unique value to the id of the entity that has it or is about to be created.

    A claim is inserted if absent, the first wins, and it is made before its entity. It reserves
    nothing: whoever comes while the entity is not there uses the *same id*, so that creating the
    entity decides. A crash in between therefore blocks nobody. Values are kept as keyed hashes.
    """

    def __init__(self, database: Database, ids: IdHasher) -> None:
        self._claims = database["claims"]
        self._ids = ids

    async def owner(self, kind: ClaimKind, value: str) -> str | None:
        """The id that has the value, whether the entity exists yet or not."""
        with transient_errors():
            found = await self._claims.find_one({"_id": self._ids.of(kind, value)})
        return None if found is None else str(found["owner"])

    async def take(self, kind: ClaimKind, value: str, candidate: str) -> str:
        """The id that has the value now: `candidate`, unless somebody was first."""
        owner = await self.owner(kind, value)
        if owner is not None:
            return owner
        try:
            with transient_errors():
                await self._claims.insert_one(
                    {"_id": self._ids.of(kind, value), "owner": candidate}
                )
        except DuplicateKeyError:
            owner = await self.owner(kind, value)
            if owner is None:
                raise TransientError("a claim is there and is not readable yet") from None
            return owner
        return candidate

    async def pass_on(self, kind: ClaimKind, value: str, owner: str, heir: str) -> None:
        """Gives the value of a deleted entity to a new id; somebody else may have been first."""
        with transient_errors():
            await self._claims.update_one(
                {"_id": self._ids.of(kind, value), "owner": owner}, {"$set": {"owner": heir}}
            )
