"""The life of a conversation: the table of the design as data, and who may do what.

Every row raises `epoch`. What is not in the table is refused with the present status; repeating
what already holds changes nothing and is answered as done.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from services.inbox.decisions.episodes import let_go, taken, wait_resumed, waited_until
from services.inbox.model.conversation import ContactSnapshot, Conversation
from services.inbox.model.events import ActorRef
from shared.contracts.events import By, EventType
from shared.contracts.views import ActorKind, Role, Status
from shared.value import evolve

_HOLDERS_KEPT = 10


class Trigger(StrEnum):
    """What may move a conversation."""

    CUSTOMER_WROTE = "customer_wrote"
    HANDOFF = "handoff"
    ROUTED = "routed"
    ACCEPT = "accept"
    CLOSE = "close"
    HOLD = "hold"
    HOLDER_LOST = "holder_lost"
    RELEASED = "released"
    TRANSFER_AGENT = "transfer_agent"
    TRANSFER_TEAM = "transfer_team"
    BOT = "bot"
    REOPEN = "reopen"
    DELETE = "delete"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Row:
    """Where a trigger leads to, and the events that tell of it (the last one is by `by`)."""

    to: Status
    events: tuple[EventType, ...]
    by: By | None = None


_OPENED = (EventType.CONVERSATION_OPENED,)
_HELD = (EventType.CONVERSATION_HELD,)
_CLOSED = (EventType.CONVERSATION_CLOSED,)
_ASSIGNED = (EventType.CONVERSATION_ASSIGNED,)
_TO_AGENT = (EventType.CONVERSATION_TRANSFERRED, EventType.CONVERSATION_ASSIGNED)
_TO_TEAM = (EventType.CONVERSATION_TRANSFERRED,)
_TO_BOT = (EventType.CONVERSATION_BOT_ACTIVATED,)
_REOPENED = (EventType.CONVERSATION_REOPENED, EventType.CONVERSATION_ASSIGNED)
_DELETED = (EventType.CONVERSATION_DELETED,)

BOT, ON_HOLD, OPEN, CLOSED = Status.BOT, Status.ON_HOLD, Status.OPEN, Status.CLOSED

TABLE: dict[tuple[Status, Trigger], Row] = {
    # A conversation that was never open counts as closed, at episode 0.
    # With an active bot on the number, CUSTOMER_WROTE leads to `bot` instead (see `move`).
    (CLOSED, Trigger.CUSTOMER_WROTE): Row(ON_HOLD, _OPENED),
    (BOT, Trigger.HANDOFF): Row(ON_HOLD, _HELD),
    (ON_HOLD, Trigger.ROUTED): Row(OPEN, _ASSIGNED, By.ROUTING),
    (ON_HOLD, Trigger.ACCEPT): Row(OPEN, _ASSIGNED, By.ACCEPT),
    (ON_HOLD, Trigger.CLOSE): Row(CLOSED, _CLOSED),
    (OPEN, Trigger.HOLD): Row(ON_HOLD, _HELD),
    (OPEN, Trigger.HOLDER_LOST): Row(ON_HOLD, _HELD),
    # The agent or the team was deleted.
    (OPEN, Trigger.RELEASED): Row(ON_HOLD, _HELD),
    (ON_HOLD, Trigger.RELEASED): Row(ON_HOLD, _HELD),
    (OPEN, Trigger.TRANSFER_AGENT): Row(OPEN, _TO_AGENT, By.TRANSFER),
    (ON_HOLD, Trigger.TRANSFER_AGENT): Row(OPEN, _TO_AGENT, By.TRANSFER),
    (OPEN, Trigger.TRANSFER_TEAM): Row(ON_HOLD, _TO_TEAM),
    (ON_HOLD, Trigger.TRANSFER_TEAM): Row(ON_HOLD, _TO_TEAM),
    (OPEN, Trigger.BOT): Row(BOT, _TO_BOT),
    (ON_HOLD, Trigger.BOT): Row(BOT, _TO_BOT),
    (OPEN, Trigger.CLOSE): Row(CLOSED, _CLOSED),
    (CLOSED, Trigger.REOPEN): Row(OPEN, _REOPENED, By.REOPEN),
    **{(status, Trigger.DELETE): Row(CLOSED, _DELETED) for status in Status},
    **{(status, Trigger.BLOCK): Row(CLOSED, _CLOSED) for status in (BOT, ON_HOLD, OPEN)},
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An action that is not done: a problem code with its parameters."""

    code: str
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Move:
    """What a trigger needs beside the conversation.

    `gone_team` is the conversation's team where that is not there any more: no move takes it
    along. Nobody but supervisors would see what waits for it.
    """

    trigger: Trigger
    at: datetime
    agent: str | None = None
    team: str | None = None
    bot: bool = False
    number_team: str | None = None
    gone_team: str | None = None


def row_of(conversation: Conversation, move: Move) -> Row | None:
    """The row of the table, None where there is none."""
    row = TABLE.get((conversation.status, move.trigger))
    if row is not None and move.trigger is Trigger.CUSTOMER_WROTE and move.bot:
        return replace(row, to=BOT)
    return row


def moved(conversation: Conversation, move: Move, row: Row) -> Conversation:
    """The conversation after the row. `version` is raised by whoever emits the events."""
    at = move.at
    after = evolve(
        conversation,
        team=None if conversation.team == move.gone_team else conversation.team,
        waited_since=conversation.waiting_since if row.to is OPEN else None,
        bot_waits_since=at if row.to is BOT and _owes_an_answer(conversation) else None,
        status=row.to,
        epoch=conversation.epoch + 1,
        waiting_since=at if row.to is ON_HOLD else None,
        held_by_agent=False,
        waited_ms=waited_until(conversation, at),
        tenures=let_go(conversation, at),
        snoozed_until=None,
    )
    match move.trigger:
        case Trigger.CUSTOMER_WROTE:
            return evolve(
                after,
                episode=conversation.episode + 1,
                assignee=None,
                team=move.number_team,
                unread=0,
                opened_at=at,
                closed_at=None,
                **_ANEW,
            )
        case Trigger.REOPEN:
            return evolve(
                _held_by(evolve(after, **_ANEW), move),
                episode=conversation.episode + 1,
                opened_at=at,
                closed_at=None,
            )
        case Trigger.ROUTED | Trigger.ACCEPT | Trigger.TRANSFER_AGENT:
            return _held_by(after, move)
        case Trigger.TRANSFER_TEAM | Trigger.HANDOFF:
            return evolve(after, assignee=None, team=move.team or after.team)
        case Trigger.RELEASED:
            waiting = conversation.waiting_since or at
            waited = conversation.waited_ms  # the wait goes on
            return evolve(after, assignee=None, team=None, waiting_since=waiting, waited_ms=waited)
        case Trigger.HOLD:
            return evolve(after, assignee=None, held_by_agent=True)
        case Trigger.HOLDER_LOST | Trigger.BOT:
            lost = move.trigger is Trigger.HOLDER_LOST
            return evolve(after, assignee=None, **wait_resumed(conversation, at) if lost else {})
        case Trigger.CLOSE | Trigger.BLOCK:
            # Whoever closes what nobody holds was the last to have it, and sees it go on.
            return evolve(after, closed_at=at, assignee=conversation.assignee or move.agent)
        case Trigger.DELETE:
            return evolve(
                after,
                deleted=True,
                closed_at=at,
                unread=0,
                last_message=None,
                last_inbound_wamid=None,
                doubts=(),
                labels=(),
                contact=ContactSnapshot(after.contact.id, blocked=after.contact.blocked),
            )


_ANEW: dict[str, Any] = {"first_response_at": None, "waited_ms": 0, "tenures": (), "responders": ()}
"""What a new episode begins without."""


def _held_by(conversation: Conversation, move: Move) -> Conversation:
    agent = move.agent
    if agent is None:
        raise ValueError("an assignment names its agent")
    others = tuple(h for h in conversation.holders if h != agent)
    return evolve(
        conversation,
        assignee=agent,
        holders=(*others, agent)[-_HOLDERS_KEPT:],
        tenures=taken(conversation, agent, move.at),
    )


def is_lost(conversation: Conversation, agent: str) -> bool:
    """Whether an agent who is gone holds it and has sent nothing in this episode."""
    return (
        conversation.status is OPEN
        and conversation.assignee == agent
        and agent not in conversation.responders
    )


def _owes_an_answer(conversation: Conversation) -> bool:
    line = conversation.last_message
    return line is not None and line.direction == "in"


# -- who sees and who may


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who asks: a person, or a bot by its key (`numbers`: whose chats it may have)."""

    agent: str
    tenant: str
    role: Role
    teams: frozenset[str]
    numbers: frozenset[str] | None = None
    name: str | None = None

    @property
    def is_bot(self) -> bool:
        return self.numbers is not None

    @property
    def actor(self) -> ActorRef:
        return ActorRef(ActorKind.BOT if self.is_bot else ActorKind.AGENT, self.agent)

    @property
    def supervises(self) -> bool:
        return self.role is not Role.AGENT


def in_queue_of(conversation: Conversation, viewer: Viewer) -> bool:
    """Whether the viewer would see it were it On Hold."""
    if viewer.is_bot:
        return False
    return viewer.supervises or conversation.team is None or conversation.team in viewer.teams


def sees(conversation: Conversation, viewer: Viewer) -> bool:
    """Own chats; On Hold of own teams or of no team; supervisors all of the tenant."""
    if conversation.tenant != viewer.tenant or conversation.deleted:
        return False
    if viewer.numbers is not None:
        return conversation.status is BOT and conversation.number_id in viewer.numbers
    if viewer.supervises:
        return True
    match conversation.status:
        case Status.ON_HOLD:
            return in_queue_of(conversation, viewer)
        case Status.OPEN | Status.CLOSED:
            return conversation.assignee == viewer.agent
        case Status.BOT:
            return False


def has_left(conversation: Conversation, viewer: Viewer) -> bool:
    """Whether it is a chat of the bot's numbers that is not the bot's (any more)."""
    return (
        viewer.numbers is not None
        and conversation.number_id in viewer.numbers
        and conversation.status is not BOT
    )


def holds(conversation: Conversation, viewer: Viewer) -> bool:
    """Holder of an open chat, or last holder of a closed one."""
    return conversation.assignee == viewer.agent and conversation.status in (OPEN, CLOSED)


def may(conversation: Conversation, viewer: Viewer, trigger: Trigger) -> Refusal | None:
    """Whether somebody who sees the conversation may pull the trigger."""
    if viewer.is_bot:
        return None if trigger is Trigger.HANDOFF else Refusal("not_holder")
    if viewer.supervises and trigger not in (Trigger.CLOSE, Trigger.ACCEPT):
        return None
    if conversation.status is OPEN and trigger is not Trigger.ACCEPT:
        if not holds(conversation, viewer):
            return Refusal("not_holder")
        return None
    if trigger is Trigger.DELETE and not holds(conversation, viewer):
        return Refusal("not_holder")
    return None


def holds_already(conversation: Conversation, viewer: Viewer, move: Move) -> bool:
    """Whether what is asked for is so already: the call is answered as done."""
    status = conversation.status
    match move.trigger:
        case Trigger.ACCEPT:
            return status is OPEN and conversation.assignee == viewer.agent
        case Trigger.REOPEN:
            return status is OPEN and conversation.assignee == viewer.agent
        case Trigger.CLOSE:
            return status is CLOSED
        case Trigger.HOLD | Trigger.HANDOFF:
            return status is ON_HOLD
        case Trigger.BOT:
            return status is BOT
        case Trigger.TRANSFER_AGENT:
            return status is OPEN and conversation.assignee == move.agent
        case Trigger.TRANSFER_TEAM:
            return status is ON_HOLD and conversation.team == move.team
        case _:
            return False
