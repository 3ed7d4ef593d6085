"""The variables of canned replies. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from services.inbox.decisions.views import Names
from services.inbox.model.conversation import Conversation

_VARIABLE: Final = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Setting:
    """The chat that a reply is for, and who sends it."""

    conversation: Conversation
    agent: str
    names: Names

    @property
    def tenant(self) -> str:
        return self.conversation.tenant


def _team(it: Setting) -> str | None:
    team = it.conversation.team
    return None if team is None else it.names.team_name(it.tenant, team)


def _number(it: Setting) -> str | None:
    number = it.names.number(it.tenant, it.conversation.number_id)
    return None if number is None else number.display_phone_number


VARIABLES: Final[Mapping[str, Callable[[Setting], str | None]]] = {
    "contact.name": lambda it: it.conversation.contact.name,
    "contact.phone": lambda it: it.conversation.contact.wa_id,
    "contact.username": lambda it: it.conversation.contact.username,
    "agent.name": lambda it: it.names.agent_name(it.tenant, it.agent),
    "team.name": _team,
    "number.phone": _number,
}
"""What may stand between double braces."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """`missing` names the variables that had nothing to show; they are left out of the text."""

    text: str
    missing: tuple[str, ...]


def unknown_variables(text: str) -> list[str]:
    """The variables of a text that there are not."""
    return [name for name in _VARIABLE.findall(text) if name not in VARIABLES]


def render_reply(text: str, setting: Setting) -> Rendered:
    """The text with its variables filled in. What they hold is not looked through again."""
    missing: dict[str, None] = {}

    def fill(found: re.Match[str]) -> str:
        name = found[1]
        value = VARIABLES[name](setting) if name in VARIABLES else None
        if not value:
            missing[name] = None
        return value or ""

    filled = _VARIABLE.sub(fill, text)
    return Rendered(filled, tuple(missing))
