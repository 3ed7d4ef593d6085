"""Which of our files Meta already has: ids of uploads live 30 days and belong to one number."""

from __future__ import annotations

from datetime import datetime, timedelta

from pymongo import IndexModel

from shared.mongo.client import Database, transient_errors, unacknowledged_by_majority

KEPT = timedelta(days=28)


class Uploads:
    """A cache: a lost entry only costs another upload."""

    def __init__(self, database: Database) -> None:
        self._uploads = unacknowledged_by_majority(database["uploads"])

    async def create_indexes(self) -> None:
        with transient_errors():
            await self._uploads.create_indexes(
                [IndexModel("expires_at", name="expiry", expireAfterSeconds=0)]
            )

    async def find(self, tenant: str, number_id: str, sha256: str, now: datetime) -> str | None:
        """Meta's id of this file at this number."""
        with transient_errors():
            found = await self._uploads.find_one({"_id": f"{tenant}/{number_id}/{sha256}"})
        return None if found is None or found["expires_at"] <= now else str(found["media_id"])

    async def keep(
        self, tenant: str, number_id: str, sha256: str, media_id: str, now: datetime
    ) -> None:
        with transient_errors():
            await self._uploads.update_one(
                {"_id": f"{tenant}/{number_id}/{sha256}"},
                {"$set": {"media_id": media_id, "expires_at": now + KEPT}},
                upsert=True,
            )

    async def forget(self, tenant: str, number_id: str, sha256: str) -> None:
        """Meta does not know the id any more."""
        with transient_errors():
            await self._uploads.delete_one({"_id": f"{tenant}/{number_id}/{sha256}"})
