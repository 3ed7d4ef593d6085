"""Joins names from the directory in memory."""

from __future__ import annotations

from services.inbox.storage.directory_view import DirectoryView
from shared.contracts.directory import NumberEntry, Policy


class DirectoryNames:
    """`services.inbox.decisions.views.Names` over the directory."""

    def __init__(self, directory: DirectoryView) -> None:
        self._directory = directory

    def agent_name(self, tenant: str, agent: str) -> str | None:
        entry = self._directory.agent(tenant, agent)
        return entry.name if entry else None

    def team_name(self, tenant: str, team: str) -> str | None:
        entry = self._directory.team(tenant, team)
        return entry.name if entry else None

    def label(self, tenant: str, label: str) -> tuple[str, str | None] | None:
        entry = self._directory.label(tenant, label)
        return (entry.name, entry.color) if entry else None

    def number(self, tenant: str, number: str) -> NumberEntry | None:
        return self._directory.number(tenant, number)

    def policy(self, tenant: str) -> Policy:
        return self._directory.policy(tenant)
