"""An inbox of a few lines: conversations, their events, and how it takes decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from shared.contracts.envelope import Envelope, timestamp
from shared.contracts.events import Before, By, ConversationEvent, EventType, MessageEvent
from shared.contracts.records import OutRecord
from shared.contracts.topics import CONVERSATION_EVENTS
from shared.contracts.views import (
    Actor,
    ActorKind,
    Author,
    ContactRef,
    Conversation,
    Message,
    NumberRef,
    Ref,
    Status,
)

START = datetime(2026, 6, 1, 12, tzinfo=UTC)


@dataclass
class Chat:
    id: str
    tenant: str
    arrived: int
    version: int = 0
    status: Status = Status.CLOSED
    episode: int = 0
    epoch: int = 0
    assignee: str | None = None
    team: str | None = None
    waiting_since: datetime | None = None
    held: bool = False
    snoozed_until: datetime | None = None


@dataclass
class InboxModel:
    """`capacity` is each agent's; `counted` False leaves the count out of the rule."""

    capacity: Mapping[str, int]
    tenant: str = "acme"
    counted: bool = True
    chats: dict[str, Chat] = field(default_factory=dict)
    events: list[OutRecord] = field(default_factory=list)
    applied: list[dict[str, Any]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def customer_writes(self, id_: str, team: str | None = None) -> None:
        chat = self.chats.setdefault(id_, Chat(id_, self.tenant, len(self.chats)))
        before = self._before(chat)
        if chat.status is Status.CLOSED:
            chat.status, chat.team, chat.assignee = Status.ON_HOLD, team, None
            chat.episode, chat.epoch = chat.episode + 1, chat.epoch + 1
            chat.waiting_since = START + timedelta(seconds=len(self.events))
        chat.held, chat.snoozed_until = False, None
        self._emit(chat, EventType.MESSAGE_RECEIVED, before)

    def phone_answers(self, id_: str) -> None:
        chat = self.chats[id_]
        self._emit(chat, EventType.MESSAGE_RECEIVED, self._before(chat))

    def snooze(self, id_: str) -> None:
        self._sleeps(id_, START + timedelta(days=1))

    def wake(self, id_: str) -> None:
        self._sleeps(id_, None)

    def accept(self, id_: str, agent: str, by: By = By.ACCEPT) -> None:
        chat = self.chats[id_]
        before = self._before(chat)
        self._turn(chat, Status.OPEN, agent)
        chat.waiting_since = None
        self._emit(chat, EventType.CONVERSATION_ASSIGNED, before, by=by)

    def close(self, id_: str) -> None:
        chat = self.chats[id_]
        before = self._before(chat)
        self._turn(chat, Status.CLOSED, chat.assignee)
        chat.waiting_since = None
        self._emit(chat, EventType.CONVERSATION_CLOSED, before)

    def hold(self, id_: str) -> None:
        chat = self.chats[id_]
        before = self._before(chat)
        self._turn(chat, Status.ON_HOLD, None)
        chat.held = True
        chat.waiting_since = START + timedelta(seconds=len(self.events))
        self._emit(chat, EventType.CONVERSATION_HELD, before)

    def transfer(self, id_: str, team: str) -> None:
        chat = self.chats[id_]
        before = self._before(chat)
        self._turn(chat, Status.ON_HOLD, None)
        chat.team = team
        chat.waiting_since = START + timedelta(seconds=len(self.events))
        self._emit(chat, EventType.CONVERSATION_TRANSFERRED, before)

    def decided(self, record: dict[str, Any]) -> bool:
        """Take a decision iff on_hold and not put aside, same episode and epoch, and room."""
        chat, agent = self.chats[record["conversation_id"]], record["agent_id"]
        if record["kind"] == "park":
            return False
        fits = (
            chat.status is Status.ON_HOLD
            and not chat.held
            and chat.snoozed_until is None
            and (chat.episode, chat.epoch) == (record["episode"], record["epoch"])
            and (not self.counted or self.load(agent) < self.capacity[agent])
        )
        if fits:
            self.applied.append(record)
            self.accept(chat.id, agent, By.ROUTING)
        else:
            self.refused.append(chat.id)
        return fits

    def load(self, agent: str) -> int:
        return sum(
            chat.status is Status.OPEN and chat.assignee == agent for chat in self.chats.values()
        )

    def waiting(self) -> list[str]:
        return [chat.id for chat in self.chats.values() if chat.status is Status.ON_HOLD]

    def listed(self) -> list[dict[str, Any]]:
        """As `GET /internal/v1/conversations` lists them."""
        return [
            {
                "id": chat.id,
                "tenant": chat.tenant,
                "version": chat.version,
                "status": chat.status,
                "episode": chat.episode,
                "epoch": chat.epoch,
                "assignee": chat.assignee,
                "team": chat.team,
                "number": "n",
                "waiting_since": None
                if chat.waiting_since is None
                else timestamp(chat.waiting_since),
                "held_by_agent": chat.held,
                "snoozed_until": None
                if chat.snoozed_until is None
                else timestamp(chat.snoozed_until),
            }
            for chat in sorted(self.chats.values(), key=lambda chat: chat.id)
            if chat.status is not Status.CLOSED
        ]

    def _turn(self, chat: Chat, status: Status, assignee: str | None) -> None:
        chat.status, chat.assignee, chat.held = status, assignee, False
        chat.snoozed_until = None
        chat.epoch += 1

    def _sleeps(self, id_: str, until: datetime | None) -> None:
        chat = self.chats[id_]
        before = self._before(chat)
        chat.snoozed_until = until
        self._emit(chat, EventType.CONVERSATION_UPDATED, before)

    def _before(self, chat: Chat) -> Before:
        return Before(
            status=chat.status if chat.version else None, assignee=chat.assignee, team=chat.team
        )

    def _emit(self, chat: Chat, kind: EventType, before: Before, by: By | None = None) -> None:
        chat.version += 1
        now = START + timedelta(seconds=len(self.events))
        conversation = Conversation(
            id=chat.id,
            version=chat.version,
            status=chat.status,
            episode=chat.episode,
            epoch=chat.epoch,
            assignee=None if chat.assignee is None else Ref(id=chat.assignee),
            team=None if chat.team is None else Ref(id=chat.team),
            number=NumberRef(id="n"),
            contact=ContactRef(id="p"),
            labels=[],
            unread=0,
            last_message=None,
            opened_at=None,
            closed_at=None,
            waiting_since=chat.waiting_since,
            window_closes_at=None,
            updated_at=now,
            held_by_agent=chat.held,
            snoozed_until=chat.snoozed_until,
        )
        if kind is EventType.MESSAGE_RECEIVED:
            payload: MessageEvent | ConversationEvent = MessageEvent(
                message=_message(chat, now), conversation=conversation, before=before
            )
        else:
            who = ActorKind.ROUTING if by is By.ROUTING else ActorKind.AGENT
            payload = ConversationEvent(
                conversation=conversation, before=before, actor=Actor(kind=who), by=by
            )
        envelope = Envelope(
            id=f"{chat.id}:{chat.version}",
            type=kind,
            source="/inbox",
            time=timestamp(now),
            tenant=chat.tenant,
            subject=chat.id,
            sequence=chat.version,
        )
        value = orjson.dumps(payload.model_dump(mode="json"))
        self.events.append(
            OutRecord(CONVERSATION_EVENTS, chat.id.encode(), value, envelope.headers())
        )


def _message(chat: Chat, now: datetime) -> Message:
    return Message(
        id=f"{chat.id}-{chat.version}",
        wamid=None,
        conversation_id=chat.id,
        seq=chat.version,
        direction="in",
        type="text",
        text="hola",
        media=None,
        content={},
        reply_to=None,
        reactions=[],
        edited=False,
        revoked=False,
        sent_at=now,
        received_at=now,
        author=Author(kind="contact"),
        client_id=None,
        status=None,
        error=None,
    )
