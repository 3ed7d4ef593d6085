"""How sending from each number goes, as delivery told it last.

Not in the number's own document: a change of that publishes its credentials in a new version, and
a new version is what resumes a stopped number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from pymongo.errors import DuplicateKeyError

from services.inbox.model.channels import SendingState
from shared.mongo.client import Database, transient_errors

SENDING = "number_sending"


class SendingStates:
    """All methods raise TransientError when the server is away."""

    def __init__(self, database: Database) -> None:
        self._collection = database[SENDING]

    async def put(self, tenant: str, number_id: str, state: SendingState, at: datetime) -> None:
        """Keep a state unless a later one is held: events may be repeated."""
        document = {**asdict(state), "tenant": tenant, "number": number_id, "at": at}
        with transient_errors():
            try:
                await self._collection.update_one(
                    {"_id": f"{tenant}/{number_id}", "at": {"$lte": at}},
                    {"$set": document},
                    upsert=True,
                )
            except DuplicateKeyError:
                return

    async def of(self, numbers: Sequence[tuple[str, str]]) -> dict[str, SendingState]:
        """By number id, for (tenant, number id); `ok` for those that nothing was told of."""
        states = {number_id: SendingState() for _, number_id in numbers}
        if not numbers:
            return states
        ids = [f"{tenant}/{number_id}" for tenant, number_id in numbers]
        with transient_errors():
            found = await self._collection.find({"_id": {"$in": ids}}).to_list(None)
        for doc in found:
            states[doc["number"]] = SendingState(
                doc["state"], doc["cause"], doc["since"], doc["until"], doc["error"]
            )
        return states
