"""Whose turn it is to give a label a name: one call at a time for each name of a tenant."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from pymongo.errors import DuplicateKeyError

from services.inbox.model.errors import RefusedError
from shared.ids import IdHasher
from shared.mongo.client import Database, transient_errors

LABEL_NAMES = "label_names"
_TURN = timedelta(seconds=30)


class LabelNames:
    """A turn ends with its call, or by itself where the process died.

    The labels themselves say which names are taken; this keeps two calls from looking at once.
    """

    def __init__(self, database: Database, ids: IdHasher, clock: Callable[[], datetime]) -> None:
        self._turns = database[LABEL_NAMES]
        self._ids = ids
        self._clock = clock

    async def ensure_indexes(self) -> None:
        with transient_errors():
            await self._turns.create_index("until", name="turn", expireAfterSeconds=0)

    @asynccontextmanager
    async def turn(self, tenant: str, key: str, label: str) -> AsyncIterator[None]:
        """The turn of one label with the name `key`; repeats of its call share it.

        Refuses with `label_taken`.
        """
        turn = self._ids.of("label_name", tenant, key)
        now = self._clock()
        until = now + _TURN
        try:
            await self._take(turn, label, now, until)
        except DuplicateKeyError:
            # Of repeats that begin at once one inserts; another finds the turn now, and its own.
            try:
                await self._take(turn, label, now, until)
            except DuplicateKeyError:
                raise RefusedError("label_taken") from None
        try:
            yield
        finally:
            with transient_errors():
                await self._turns.delete_one({"_id": turn, "label": label, "until": until})

    async def _take(self, turn: str, label: str, now: datetime, until: datetime) -> None:
        with transient_errors():
            await self._turns.update_one(
                {"_id": turn, "$or": [{"until": {"$lte": now}}, {"label": label}]},
                {"$set": {"until": until, "label": label}},
                upsert=True,
            )
