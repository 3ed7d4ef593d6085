"""Customers who write, as Meta delivers them: batched, repeated, again later, until answered 200.

Order is promised for messages that are posted one after the other's 200, so each customer belongs
to one worker that goes on only then. Several messages of one customer may share a webhook: their
order is the array's.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field

from shared.testing.webhooks import (
    Customer,
    Json,
    Number,
    Wamids,
    WebhookDriver,
    customers,
    encode,
    messages_change,
    reaction_message,
    text_message,
    webhook,
)
from tests.fault.office import PHONES

_EMOJIS = ("👍", "❤️", "😂", "🙏", "")
_WORKERS = 16
_PER_WEBHOOK = 2.0


@dataclass(slots=True)
class Line:
    """One customer's side of the chat."""

    customer: Customer
    number: Number
    clock: int
    posted: list[str] = field(default_factory=list)
    written: int = 0


@dataclass(frozen=True, slots=True)
class Item:
    line: Line
    content: Json
    message: str | None = None
    reaction: tuple[str, str] | None = None


class Load:
    """Posts about `rate` messages a second until it is stopped."""

    def __init__(
        self, driver: WebhookDriver, *, seed: int, count: int, rate: float, now: int
    ) -> None:
        self._driver = driver
        self._random = random.Random(seed)
        self._ids = Wamids(seed)
        self._pause = _WORKERS * _PER_WEBHOOK / rate
        numbers = [Number(phone, shown) for phone, shown in PHONES.items()]
        self.lines = [
            Line(customer, numbers[n % len(numbers)], now - 3600)
            for n, customer in enumerate(customers(count, seed=seed, hidden_ratio=0.2))
        ]
        self._old: list[bytes] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self.offered: dict[str, float] = {}
        """Message id -> when it was first posted (monotonic)."""
        self.reactions: dict[str, str] = {}
        self.again: Counter[str] = Counter()

    async def begin(self) -> None:
        """One message ahead of all others."""
        item = self._write(self.lines[0], self._random)
        if item.message is None:
            raise RuntimeError("a customer's first item is a message")
        self.offered[item.message] = time.monotonic()
        await self._deliver(encode(_webhook([item])))
        item.line.posted.append(item.message)

    async def run(self) -> None:
        """All workers, to the end of what they have begun."""
        async with asyncio.TaskGroup() as group:
            for n in range(_WORKERS):
                mine = self.lines[n::_WORKERS]
                group.create_task(self._work(mine, random.Random(self._random.random())))
        await asyncio.gather(*self._tasks)

    def stop(self) -> None:
        self._stopping.set()

    @property
    def acknowledged(self) -> int:
        return sum(len(line.posted) for line in self.lines)

    async def _work(self, lines: list[Line], rng: random.Random) -> None:
        while not self._stopping.is_set():
            items = [self._write(rng.choice(lines), rng) for _ in range(rng.choice((1, 1, 2, 4)))]
            body = encode(_webhook(items))
            self.offered.update({i.message: time.monotonic() for i in items if i.message})
            if rng.random() < 0.1:
                self._in_background("at once", body)
            await self._deliver(body)
            for item in items:
                if item.message is not None:
                    item.line.posted.append(item.message)
                if item.reaction is not None:
                    target, emoji = item.reaction
                    self.reactions[target] = emoji
            self._remember(body, rng)
            if rng.random() < 0.1:
                self._in_background("later", rng.choice(self._old))
            await self._wait(self._pause * rng.uniform(0.2, 1.8))

    def _write(self, line: Line, rng: random.Random) -> Item:
        line.clock += 1
        wamid = self._ids.inbound(line.customer)
        if line.posted and rng.random() < 0.08:
            target, emoji = rng.choice(line.posted), rng.choice(_EMOJIS)
            content = reaction_message(
                target, emoji or None, line.customer, wamid, timestamp=line.clock
            )
            return Item(line, content, reaction=(target, emoji))
        line.written += 1
        content = text_message(
            f"message {line.written}", line.customer, wamid, timestamp=line.clock
        )
        return Item(line, content, message=wamid)

    def _remember(self, body: bytes, rng: random.Random) -> None:
        if len(self._old) < 500:
            self._old.append(body)
        else:
            self._old[rng.randrange(len(self._old))] = body

    def _in_background(self, when: str, body: bytes) -> None:
        self.again[when] += 1
        task = asyncio.create_task(self._deliver(body))
        self._tasks.add(task)

    async def _deliver(self, body: bytes) -> None:
        """Until it is answered 200, as Meta does for days."""
        pause = 0.1
        while await self._driver.post(body) != 200:
            self.again["retried"] += 1
            await asyncio.sleep(pause)
            pause = min(1.0, pause * 2)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return


def _webhook(items: list[Item]) -> Json:
    """One webhook; a number's items share a change."""
    by_number: dict[Number, list[Item]] = {}
    for item in items:
        by_number.setdefault(item.line.number, []).append(item)
    return webhook(
        *(
            messages_change(
                number,
                [item.content for item in its],
                [item.line.customer for item in its],
            )
            for number, its in by_number.items()
        )
    )
