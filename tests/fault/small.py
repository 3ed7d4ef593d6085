"""A good recording, small and made in memory: what a perfect system would leave behind."""

from __future__ import annotations

from typing import Any

from tests.fault.recording import (
    Action,
    Head,
    Recording,
    Send,
    Shown,
    Standing,
    Stored,
    Told,
    View,
)

_AGENTS = ("ana", "luis")
_CUSTOMERS = 4


def small_recording() -> Recording:
    """Some chats: customers write and react, agents accept, answer, close; events come twice."""
    it = Recording()
    for n in range(_CUSTOMERS):
        _Chat(it, f"customer {n}", f"chat{n}", _AGENTS[n % len(_AGENTS)]).play()
    everything = {view["id"]: view for view in it.rest.pop("all").values()}
    it.rest["sol"] = everything
    for agent in _AGENTS:
        it.rest[agent] = {
            c: v for c, v in everything.items() if v["assignee"] == {"id": agent, "name": agent}
        }
    it.sockets = {viewer: dict(views) for viewer, views in it.rest.items()}
    it.leftovers = {"parked": 0, "dead letters": 0}
    return it


class _Chat:
    def __init__(self, it: Recording, customer: str, conversation: str, agent: str) -> None:
        self._it = it
        self._customer = customer
        self._id = conversation
        self._agent = agent
        self._seq = 0
        self._standing = Standing(0, "closed", 0, 0, None, None)

    def play(self) -> None:
        self._write()
        self._move("conversation.opened", status="on_hold", episode=1, epoch=1)
        self._write()
        self._act("accept", status="open", assignee=self._agent, epoch=2, by="accept")
        for _ in range(3):
            self._write()
            self._answer()
        # Begun and cut off: not there at all, and that is right.
        self._it.sends.append(Send(self._agent, self._id, f"{self._id}-cut"))
        self._act("close", status="closed", epoch=3)
        self._repeat_last()
        it = self._it
        it.heads.append(Head(self._id, self._standing.version, 0))
        it.rest.setdefault("all", {})[self._id] = self._view()

    def _view(self) -> View:
        s = self._standing
        assignee = None if s.assignee is None else {"id": s.assignee, "name": s.assignee}
        return {
            "id": self._id,
            "version": s.version,
            "status": s.status,
            "episode": s.episode,
            "epoch": s.epoch,
            "assignee": assignee,
            "team": None,
        }

    def _move(self, kind: str, *, by: str | None = None, **changes: Any) -> None:
        actor = changes.pop("actor", None)
        message, seq = changes.pop("message", None), changes.pop("seq", None)
        members = {name: getattr(self._standing, name) for name in Standing.__slots__}
        members |= {"version": self._standing.version + 1, **changes}
        self._standing = Standing(**members)
        version = self._standing.version
        self._it.told.append(
            Told(
                self._id, version, f"{self._id}:{version}".encode(), kind, self._standing,
                message, seq, actor, by,
            )
        )  # fmt: skip

    def _repeat_last(self) -> None:
        """A crash behind the send: the writer's successor tells the last two again."""
        self._it.told += self._it.told[-2:]

    def _stored(self, message: str, wamid: str | None, client_id: str | None) -> None:
        self._it.stored.append(Stored(message, self._id, self._seq, wamid, client_id))

    def _write(self) -> None:
        self._seq += 1
        wamid = f"wamid.{self._id}.{self._seq}"
        message = f"m.{self._id}.{self._seq}"
        self._it.posted.setdefault(self._customer, []).append(wamid)
        self._it.offered.add(wamid)
        self._it.reactions[wamid] = "👍" if self._seq == 1 else ""
        self._stored(message, wamid, None)
        self._move("message.received", message=message, seq=self._seq)
        emojis = ("👍",) if self._seq == 1 else ()
        self._it.shown.append(Shown(message, self._id, self._seq, None, emojis))

    def _answer(self) -> None:
        self._seq += 1
        message, client_id = f"m.{self._id}.{self._seq}", f"{self._id}-{self._seq}"
        self._stored(message, f"wamid.out.{message}", client_id)
        self._it.sends.append(Send(self._agent, self._id, client_id, message, self._seq))
        self._move("message.queued", message=message, seq=self._seq)
        self._it.delivered.append(message)
        self._move("message.status", message=message, seq=self._seq)
        self._it.shown.append(Shown(message, self._id, self._seq, "delivered"))

    def _act(self, kind: str, *, by: str | None = None, **changes: Any) -> None:
        event = {"accept": "conversation.assigned", "close": "conversation.closed"}[kind]
        self._move(event, by=by, actor=self._agent, **changes)
        self._it.actions.append(Action(self._agent, self._id, kind, self._standing))
