"""How many open chats an agent holds: the count that keeps assignments within capacity."""

from __future__ import annotations

from collections.abc import Sequence

from services.inbox.storage.directory_view import DirectoryView
from services.inbox.storage.entries import CONVERSATIONS
from shared.contracts.views import Role, Status
from shared.mongo.client import Database, transient_errors


class Loads:
    """One indexed count per agent; the truth that routing's own slots are a cache of.

    The index is that of the holder's own list (`storage.conversations`).
    """

    def __init__(self, database: Database, directory: DirectoryView) -> None:
        self._conversations = database[CONVERSATIONS]
        self._directory = directory

    async def free_slots(self, agents: Sequence[tuple[str, str]]) -> dict[str, int]:
        """Room by agent, for (tenant, agent) pairs; 0 for whom routing may not choose."""
        room: dict[str, int] = {}
        for tenant, agent in agents:
            entry = self._directory.agent(tenant, agent)
            if entry is None or entry.role is not Role.AGENT:
                room[agent] = 0
                continue
            with transient_errors():
                held = await self._conversations.count_documents(
                    {"tenant": tenant, "assignee": agent, "status": Status.OPEN.value}
                )
            room[agent] = entry.capacity - held
        return room
