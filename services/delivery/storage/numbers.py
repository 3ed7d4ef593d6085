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
        """Keep a stop with its event; False when the number is stopped by another one."""
        document: Document = {
            **_key(stop),
            "tenant": stop.tenant,
            "number": stop.number_id,
            "reason": stop.reason,
            "error": [stop.error.code, stop.error.title, stop.error.detail],
            "at": stop.at,
            "version": stop.version,
            "until": stop.until,
            "event": _fields(event),
        }
        with transient_errors():
            try:
                await self._numbers.insert_one(document)
            except DuplicateKeyError:
                # The answer to the same insert may have been lost.
                return await self._numbers.find_one({**_key(stop), "at": stop.at}) is not None
        return True

    async def find(self, tenant: str, number_id: str, at: datetime) -> Stop | None:
        """The stop of that moment, if it is not over."""
        query = {"_id": f"{tenant}/{number_id}", "at": at}
        with transient_errors():
            found = await self._numbers.find_one(query)
        return None if found is None else _stop(found)

    async def resume(self, stop: Stop, event: EventNote) -> bool:
        """Forget this stop, and keep its event; False when another pod did it before."""
        with transient_errors():
            # The event first: after the removal nobody would know that it is missing.
            await self._keep(event)
            result = await self._numbers.delete_one({**_key(stop), "at": stop.at})
        return result.deleted_count == 1

    async def all(self) -> tuple[list[Stop], list[EventNote]]:
        """Every stop, and the events that are not known to be produced."""
        with transient_errors():
            found = await self._numbers.find({}).to_list(None)
        stops = [_stop(d) for d in found if "number" in d]
        return stops, [EventNote(*d["event"]) for d in found if "event" in d]

    async def produced(self, event: EventNote) -> None:
        """Forget the event: that of a stop lies in the stop, others by themselves."""
        with transient_errors():
            await self._numbers.delete_one({"_id": f"event:{event.id}"})
            await self._numbers.update_one(
                {"_id": f"{event.tenant}/{event.key}", "event.0": event.id},
                {"$unset": {"event": True}},
            )

    async def _keep(self, event: EventNote) -> None:
        await self._numbers.update_one(
            {"_id": f"event:{event.id}"}, {"$setOnInsert": {"event": _fields(event)}}, upsert=True
        )


def _key(stop: Stop) -> Document:
    return {"_id": f"{stop.tenant}/{stop.number_id}"}


def _fields(event: EventNote) -> list[object]:
    return [event.id, event.type, event.tenant, event.key, event.at, event.value]


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
