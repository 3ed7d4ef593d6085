"""Numbers that are stopped, for all pods, and their events until they are produced."""

from __future__ import annotations

from datetime import datetime

from pymongo.errors import DuplicateKeyError

from services.delivery.model import ErrorNote, EventNote, Stop
from shared.mongo.client import Database, Document, transient_errors


class StoppedNumbers:
    """All methods raise TransientError when the server is away."""

    def __init__(self, database: Database) -> None:
        self._numbers = database["numbers"]

    async def stop(self, stop: Stop, event: EventNote) -> bool:
        """Keep a stop with its event; False when the number is stopped already."""
        document: Document = {
            "_id": f"{stop.tenant}/{stop.number_id}",
            "tenant": stop.tenant,
            "number": stop.number_id,
            "reason": stop.reason,
            "error": [stop.error.code, stop.error.title, stop.error.detail],
            "at": stop.at,
            "version": stop.version,
            "until": stop.until,
        }
        with transient_errors():
            try:
                await self._numbers.insert_one(document)
            except DuplicateKeyError:
                return False
            await self._keep(event)
        return True

    async def resume(self, stop: Stop, event: EventNote) -> bool:
        """Forget this stop, and keep its event; False when another pod did it before."""
        with transient_errors():
            # The event first: after the removal nobody would know that it is missing.
            await self._keep(event)
            result = await self._numbers.delete_one(
                {"_id": f"{stop.tenant}/{stop.number_id}", "at": stop.at}
            )
        return result.deleted_count == 1

    async def all(self) -> tuple[list[Stop], list[EventNote]]:
        """Every stop, and the events that are not known to be produced."""
        with transient_errors():
            found = await self._numbers.find({}).to_list(None)
        stops = [_stop(d) for d in found if "number" in d]
        return stops, [EventNote(*d["event"]) for d in found if "event" in d]

    async def produced(self, event: EventNote) -> None:
        with transient_errors():
            await self._numbers.delete_one({"_id": f"event:{event.id}"})

    async def _keep(self, event: EventNote) -> None:
        fields = [event.id, event.type, event.tenant, event.key, event.at, event.value]
        await self._numbers.update_one(
            {"_id": f"event:{event.id}"}, {"$setOnInsert": {"event": fields}}, upsert=True
        )


def _stop(d: Document) -> Stop:
    until: datetime | None = d["until"]
    return Stop(
        tenant=d["tenant"],
        number_id=d["number"],
        reason=d["reason"],
        error=ErrorNote(*d["error"]),
        at=d["at"],
        version=d["version"],
        until=until,
    )
