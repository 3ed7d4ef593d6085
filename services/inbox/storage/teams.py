"""Which teams are there: what a conversation that outlives its team is judged by."""

from __future__ import annotations

from collections.abc import Collection

from services.inbox.model.entities import Team
from services.inbox.storage.directory import COLLECTION
from services.inbox.storage.directory_documents import head_id
from services.inbox.storage.directory_view import DirectoryView
from shared.mongo.client import Database, transient_errors


class Teams:
    """Reads the directory in memory; only what that lacks is looked up."""

    def __init__(self, database: Database, view: DirectoryView) -> None:
        self._directory = database[COLLECTION]
        self._view = view

    async def gone(self, asked: Collection[tuple[str, str]]) -> frozenset[str]:
        """Those of the teams, given as (tenant, team), that are not there (any more).

        What another process deleted may be there for a moment more.
        """
        unknown = {each for each in asked if self._view.team(*each) is None}
        if not unknown:
            return frozenset()
        query = {"_id": {"$in": [head_id(Team, team) for _, team in unknown]}, "deleted": False}
        with transient_errors():
            docs = await self._directory.find(query, {"tenant": 1, "id": 1}).to_list(None)
        there = {(doc["tenant"], doc["id"]) for doc in docs}
        return frozenset(team for _, team in unknown - there)
