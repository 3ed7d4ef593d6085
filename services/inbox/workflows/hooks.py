"""What the directory needs of the conversations."""

from __future__ import annotations

from typing import Protocol


class ConversationHooks(Protocol):
    """Called after the directory's own write, again and again until it succeeds: idempotent."""

    async def has_open_chats(self, tenant: str, number_id: str) -> bool:
        """Whether the number has a conversation that is not closed."""
        ...

    async def release_agent(self, tenant: str, agent_id: str) -> None:
        """The agent is deleted: their chats go to On Hold without team, by `system`."""
        ...

    async def release_team(self, tenant: str, team_id: str) -> None:
        """The team is deleted: its chats go to On Hold without team, by `system`."""
        ...

    async def replace_label(self, tenant: str, label: str, into: str | None, by: str) -> None:
        """The label is deleted: whoever has it has `into` instead, or none, as agent `by` says."""
        ...

    async def erase_tenant(self, tenant: str) -> None:
        """The tenant is erased: everything that the conversations hold of it goes."""
        ...
