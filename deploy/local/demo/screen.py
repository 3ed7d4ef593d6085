"""How the show looks: one line for each thing that happens, readable on paper too."""

import re
import time
from typing import Any, Final

from rich.console import Console
from rich.text import Text

Json = dict[str, Any]
CHANGES: Final = {"enter": "green", "update": "cyan", "leave": "yellow"}
PAPER_WIDTH: Final = 120
_SPACE: Final = re.compile(r"\s+")


class Screen:
    """Prints captions (what somebody did) and frames (what an agent's socket received)."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        if console is None and not self.console.is_terminal:
            self.console = Console(highlight=False, width=PAPER_WIDTH)
        self._began = time.monotonic()
        self.names: dict[str, str] = {}
        """Of people, by their ids."""

    def begin(self) -> None:
        """Count the seconds from now."""
        self._began = time.monotonic()

    def caption(self, text: str) -> None:
        """What happens next, in a sentence."""
        self.console.print()
        self._line(Text(f"{text}", style="bold"))

    def frame(self, agent: str, color: str, frame: Json) -> None:
        """A frame that is not an event."""
        members = ", ".join(
            f"{name} {str(value)[:24]}" for name, value in frame.items() if name != "type"
        )
        self._line(
            _who(agent, color) + Text(f"{frame.get('type')}  ", "dim") + Text(members, "dim")
        )

    def event(self, agent: str, color: str, change: str, event: Json) -> None:
        """One event, with what a person would look at."""
        line = _who(agent, color)
        line.append(f"{change:<7}", CHANGES.get(change, ""))
        line.append(f"{event['type']:<24}", "bold")
        data = event.get("data", {})
        chat = data.get("conversation")
        if chat is not None:
            line.append(f"{_name(chat):<16} ")
        line.append(self._told(event["type"], data))
        self._line(line)

    def _told(self, kind: str, data: Json) -> str:
        match data:
            case {"message": dict(message)}:
                return _of_message(kind, message)
            case {"conversation": dict(chat)}:
                return _of_chat(chat)
            case {"agent_id": who, "present": present}:
                return f"{self.names.get(who, 'somebody')} is {'here' if present else 'gone'}"
            case {"agent_id": who, "available": available}:
                return (
                    f"{self.names.get(who, 'somebody')} is {'' if available else 'not '}available"
                )
            case _:
                return ""

    def _line(self, content: Text) -> None:
        stamp = Text(f"{time.monotonic() - self._began:5.1f} s  ", style="dim")
        self.console.print(stamp + content, no_wrap=True, overflow="ellipsis", crop=True)


def _who(agent: str, color: str) -> Text:
    return Text(f"  {agent:<6}", style=f"bold {color}")


def _name(chat: Json) -> str:
    contact = chat["contact"]
    return str(contact["name"] or contact["username"] or contact["wa_id"] or "?")


def _of_chat(chat: Json) -> str:
    holder = (chat["assignee"] or {}).get("name")
    team = (chat["team"] or {}).get("name")
    told = str(chat["status"])
    told += f", held by {holder}" if holder and chat["status"] == "open" else ""
    return told + (f", team {team}" if team else "")


def _of_message(kind: str, message: Json) -> str:
    if kind == "message.status":
        error = message.get("error")
        return (
            f"{message['status']} ({error['code']} {error['title']})"
            if error
            else str(message["status"])
        )
    if kind == "message.reacted":
        return " ".join(one["emoji"] for one in message["reactions"])
    text = _SPACE.sub(" ", message["text"] or "")
    if message["type"] == "text":
        return f"“{text}”"
    state = f" {message['media']['state']}" if message.get("media") else ""
    return f"[{message['type']}{state}] {text}".rstrip()
