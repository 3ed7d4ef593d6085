"""A client that posts webhooks as Meta's servers do."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import aiohttp

from shared.testing.webhooks.ids import Json
from shared.testing.webhooks.wire import encode, signed_headers, upload


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a driver delivers: what goes wrong, how often, and for how long it retries."""

    concurrency: int = 8
    duplicate_ratio: float = 0.0
    shuffle: bool = False
    attempts: int = 12
    backoff_s: float = 0.1
    backoff_max_s: float = 5.0
    timeout_s: float = 10.0


@dataclass(slots=True)
class Tally:
    """What happened: answers by status (0 = no answer), and how the webhooks ended."""

    answers: Counter[int] = field(default_factory=Counter)
    delivered: int = 0
    duplicated: int = 0
    retried: int = 0
    given_up: int = 0


class WebhookDriver:
    """Posts webhooks as Meta does: signed, concurrently, each until it is answered 200."""

    def __init__(
        self, url: str, secret: str, *, delivery: Delivery | None = None, seed: int = 0
    ) -> None:
        self._url = url
        self._secret = secret
        self._delivery = delivery or Delivery()
        self._random = random.Random(seed)
        self._session: aiohttp.ClientSession | None = None
        self.tally = Tally()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._delivery.timeout_s),
            connector=aiohttp.TCPConnector(limit=0),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, payload: Json | bytes) -> int:
        """Post once; return the HTTP status, or 0 when there was no answer."""
        if self._session is None:
            raise RuntimeError("a WebhookDriver is used inside `async with`")
        body = payload if isinstance(payload, bytes) else encode(payload)
        try:
            headers = signed_headers(body, self._secret)
            async with self._session.post(self._url, data=upload(body), headers=headers) as answer:
                await answer.read()
                code = answer.status
        except (aiohttp.ClientError, TimeoutError):
            code = 0
        self.tally.answers[code] += 1
        return code

    async def deliver(self, webhooks: Iterable[Json | bytes]) -> Tally:
        """Deliver all, each until 200 or out of attempts; return the running tally."""
        delivery = self._delivery
        bodies = [one if isinstance(one, bytes) else encode(one) for one in webhooks]
        copies = [body for body in bodies if self._random.random() < delivery.duplicate_ratio]
        self.tally.duplicated += len(copies)
        bodies += copies
        if delivery.shuffle:
            self._random.shuffle(bodies)
        waiting = iter(bodies)

        async def worker() -> None:
            for body in waiting:
                await self._deliver_one(body)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(delivery.concurrency, len(bodies))):
                group.create_task(worker())
        return self.tally

    async def _deliver_one(self, body: bytes) -> None:
        delivery = self._delivery
        for attempt in range(delivery.attempts):
            if await self.post(body) == 200:
                self.tally.delivered += 1
                return
            self.tally.retried += 1
            wait = min(delivery.backoff_max_s, delivery.backoff_s * 2**attempt)
            await asyncio.sleep(wait * self._random.uniform(0.5, 1.0))
        self.tally.given_up += 1
