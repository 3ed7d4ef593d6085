"""What the design's table of a conversation's life says of people, told again in other words."""

from typing import Any, Final

from services.inbox.decisions.lifecycle import Trigger
from shared.contracts.views import Role

PEOPLE: Final = {
    "ana": (Role.AGENT, frozenset({"sales"})),
    "bea": (Role.AGENT, frozenset({"sales", "support"})),
    "carl": (Role.AGENT, frozenset({"support"})),
    "dora": (Role.AGENT, frozenset()),
    "sue": (Role.SUPERVISOR, frozenset()),
    "ada": (Role.ADMIN, frozenset({"sales"})),
}
SUPERVISE: Final = {"sue", "ada"}
TEAMS: Final = ("sales", "support")
MOVES: Final = {
    "accept": Trigger.ACCEPT,
    "close": Trigger.CLOSE,
    "reopen": Trigger.REOPEN,
    "hold": Trigger.HOLD,
    "bot": Trigger.BOT,
    "handoff": Trigger.HANDOFF,
    "delete": Trigger.DELETE,
}
# What the design's table says of people: from, action -> to, and who may ("-": who sees it).
ROWS: Final = {
    ("on_hold", "accept"): ("open", "-"),
    ("on_hold", "close"): ("closed", "-"),
    ("open", "close"): ("closed", "holder"),
    ("closed", "reopen"): ("open", "-"),
    ("open", "hold"): ("on_hold", "holder or supervisor"),
    ("bot", "handoff"): ("on_hold", "-"),
    ("open", "bot"): ("bot", "holder or supervisor"),
    ("on_hold", "bot"): ("bot", "-"),
    ("open", "to_agent"): ("open", "holder or supervisor"),
    ("on_hold", "to_agent"): ("open", "-"),
    ("open", "to_team"): ("on_hold", "holder or supervisor"),
    ("on_hold", "to_team"): ("on_hold", "-"),
    ("bot", "delete"): ("deleted", "holder or supervisor"),
    ("on_hold", "delete"): ("deleted", "holder or supervisor"),
    ("open", "delete"): ("deleted", "holder or supervisor"),
    ("closed", "delete"): ("deleted", "holder or supervisor"),
}


def nothing() -> dict[str, Any]:
    """A conversation that nothing has happened in."""
    return {
        "status": "closed",
        "episode": 0,
        "epoch": 0,
        "assignee": None,
        "team": None,
        "unread": 0,
        "seq": 0,
        "version": 0,
        "window": None,
        "deleted": False,
        "held": set(),
        "blocked": False,
        "parked": False,
    }


def in_queue(state: dict[str, Any], person: str) -> bool:
    return person in SUPERVISE or state["team"] in {None, *PEOPLE[person][1]}


def in_sight(state: dict[str, Any], person: str) -> bool:
    if state["deleted"]:
        return False
    if person in SUPERVISE:
        return True
    if state["status"] == "on_hold":
        return in_queue(state, person)
    return state["status"] != "bot" and state["assignee"] == person


def so_already(
    state: dict[str, Any], person: str, action: str, agent: str | None, team: str | None
) -> bool:
    holding = {"accept": person, "reopen": person, "to_agent": agent}
    if action in holding:
        return bool(state["status"] == "open" and state["assignee"] == holding[action])
    if action == "to_team":
        return bool(state["status"] == "on_hold" and state["team"] == team)
    result = {"close": "closed", "hold": "on_hold", "handoff": "on_hold", "bot": "bot"}
    return bool(state["status"] == result.get(action))


def unseen(state: dict[str, Any], person: str, epoch: int | None) -> str | None:
    """What is answered to whoever does not see it, or sees it as it was."""
    if state["deleted"]:
        return "not_found"
    if epoch not in {None, state["epoch"]} and (
        in_sight(state, person) or in_queue(state, person) or person in state["held"]
    ):
        return "stale_epoch"
    return None if in_sight(state, person) else "not_found"


def expected(
    state: dict[str, Any],
    person: str,
    action: str,
    *,
    epoch: int | None,
    agent: str | None,
    team: str | None,
    bot: bool,
) -> str:
    """`goes`, `holds` (it is so already), or the code of the refusal."""
    status, holder = state["status"], state["assignee"]
    if action == "accept" and status == "open" and not state["deleted"]:
        if holder == person:
            return "holds"
        if in_queue(state, person):
            return "already_assigned"
    code = unseen(state, person, epoch)
    if code is not None:
        return code
    allowed = {"-": True, "holder": holder == person and status in {"open", "closed"}}
    allowed["holder or supervisor"] = allowed["holder"] or person in SUPERVISE
    row = ROWS.get((status, action))
    if row is not None and not allowed[row[1]]:
        return "not_holder"
    if row is None and status == "open" and action == "reopen":
        if holder == person:
            return "holds"
        return "invalid_transition" if person in SUPERVISE else "not_holder"
    if so_already(state, person, action, agent, team):
        return "holds"
    if row is None:
        return "invalid_transition"
    return "no_bot" if action == "bot" and not bot else "goes"
