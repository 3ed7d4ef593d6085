"""What agents do with what their screens show, each call remembered with its answer."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import Counter
from typing import Any, Final

from tests.fault.office import Office
from tests.fault.recording import Action, Send, Standing, View
from tests.fault.screen import Screen

_RETRIES: Final = 200
_UNANSWERED: Final = {0, 500, 502, 503, 504}


class Desk:
    """An agent at work: one call after the other, until stopped.

    A call without an answer is made again under the same key, as a screen does, or given up: then
    it is there wholly or not at all.
    """

    def __init__(self, screen: Screen, office: Office, *, seed: int) -> None:
        self._screen = screen
        self._person = screen.person
        self._teams = office.teams
        self._random = random.Random(seed)
        self._stopping = asyncio.Event()
        self.sends: list[Send] = []
        self.actions: list[Action] = []
        self.answered_at: dict[str, float] = {}
        """Our id of a sent message -> when its 202 came (monotonic)."""
        self.counts: Counter[str] = Counter()

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        while not self._stopping.is_set():
            await self._step()
            try:
                async with asyncio.timeout(self._random.uniform(0.02, 0.25)):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    async def _step(self) -> None:
        if self._random.random() < 0.01:
            await self._screen.drop()
        views = list(self._screen.conversations.values())
        own = [v for v in views if v["status"] == "open" and self._is_mine(v)]
        waiting = [v for v in views if v["status"] == "on_hold"]
        choice = self._random.random()
        if waiting and (choice < 0.15 or not own):
            await self._act("accept", self._random.choice(waiting))
        elif not own:
            return
        elif choice < 0.75:
            await self._send(self._random.choice(own))
        elif choice < 0.87:
            await self._act("close", self._random.choice(own))
        elif choice < 0.93:
            body = {"team_id": self._random.choice(self._teams)}
            await self._act("transfer", self._random.choice(own), body)
        elif choice < 0.96:
            await self._act("hold", self._random.choice(own))
        else:
            await self._act("read", self._random.choice(own))

    def _is_mine(self, view: View) -> bool:
        return view["assignee"] is not None and view["assignee"]["id"] == self._person.id

    async def _act(self, kind: str, view: View, body: dict[str, Any] | None = None) -> None:
        key = uuid.uuid4().hex
        path = f"/v1/conversations/{view['id']}/{kind}"
        status, answer, tries = await self._call(path, body or {}, key)
        standing = Standing.of(answer) if status == 200 else None
        refused = 400 <= status < 500 and tries == 1
        self.actions.append(Action(self._person.id, view["id"], kind, standing, refused))
        self.counts[f"{kind} {status}"] += 1

    async def _send(self, view: View) -> None:
        client_id = uuid.uuid4().hex
        path = f"/v1/conversations/{view['id']}/messages"
        body = {"client_id": client_id, "type": "text", "text": f"answer {len(self.sends)}"}
        status, answer, tries = await self._call(path, body, None)
        refused = 400 <= status < 500 and tries == 1
        message, seq = (answer["id"], answer["seq"]) if status == 202 else (None, None)
        if message is not None:
            self.answered_at[message] = time.monotonic()
        self.sends.append(Send(self._person.id, view["id"], client_id, message, seq, refused))
        self.counts[f"send {status}"] += 1

    async def _call(self, path: str, body: dict[str, Any], key: str | None) -> tuple[int, Any, int]:
        """The answer and after how many tries it came.

        Two of three calls without an answer are made again until there is one.
        """
        patient = self._random.random() < 0.67
        pause = 0.1
        for tries in range(1, _RETRIES + 1):
            status, answer = await self._person.rest.call("POST", path, body, key=key)
            if status not in _UNANSWERED:
                return status, answer, tries
            self.counts["cut"] += 1
            if not patient:
                return status, None, tries
            await asyncio.sleep(pause)
            pause = min(1.0, pause * 2)
        return 0, None, _RETRIES
