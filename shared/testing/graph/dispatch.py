"""Delivers webhooks as Meta does: late, batched, signed, concurrently, each until answered 200."""

import asyncio
import heapq
import itertools
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import aiohttp

from shared.testing import webhooks
from shared.testing.graph.behaviour import WebhookBehaviour
from shared.testing.graph.model import Json, Target, Update
from shared.testing.webhooks.wire import upload


@dataclass(slots=True, eq=False)
class _Batch:
    """One webhook; its bytes are made once, so a retry is the same body."""

    target: Target
    updates: list[Update]
    body: bytes
    first_at: float
    epoch: int
    attempts: int = 0
    again: bool = False  # a copy of something already delivered


class Dispatcher:
    """The fake's way out. Nothing runs while nothing is pending: one timer, for the next due."""

    def __init__(
        self,
        behaviour: Callable[[], WebhookBehaviour],
        numbers: Callable[[str], webhooks.Number],
        rng: random.Random,
        max_pending: int,
    ) -> None:
        self._behaviour = behaviour
        self._numbers = numbers
        self._random = rng
        self._max_pending = max_pending
        self._order = itertools.count()
        self._timed: list[tuple[float, int, Update | _Batch]] = []
        self._ready: dict[int, deque[Update]] = {}
        self._ready_batches: deque[_Batch] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._round_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._pending = 0
        self._epoch = 0  # raised by clear: what was in flight then is not retried
        self._idle = asyncio.Event()
        self._idle.set()
        self._session: aiohttp.ClientSession | None = None
        self.counts: Counter[str] = Counter()

    async def start(self) -> None:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def stop(self) -> None:
        """Let what is in flight finish shortly, forget the rest."""
        self.clear()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def clear(self) -> None:
        """Forget what is pending and the counts."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting = sum(
            len(one.updates) if isinstance(one, _Batch) else 1 for _, _, one in self._timed
        )
        waiting += sum(len(queue) for queue in self._ready.values())
        waiting += sum(len(batch.updates) for batch in self._ready_batches)
        self._timed.clear()
        self._ready.clear()
        self._ready_batches.clear()
        self._settle(waiting)
        self._epoch += 1
        self.counts.clear()

    @property
    def pending(self) -> int:
        return self._pending

    @property
    def in_flight(self) -> int:
        return len(self._tasks)

    async def wait_idle(self, seconds: float) -> bool:
        """Wait until nothing is pending; return whether that came true in time."""
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def submit(self, update: Update, delay_s: float) -> None:
        """Deliver `update` after `delay_s`, perhaps more than once."""
        behaviour = self._behaviour()
        copies = 0
        if behaviour.duplicate_ratio and self._random.random() < behaviour.duplicate_ratio:
            copies = behaviour.duplicates
            self.counts["duplicated"] += copies
        if self._pending + 1 + copies > self._max_pending:
            self.counts["overflowed"] += 1
            return
        now = asyncio.get_running_loop().time()
        self._push(now + delay_s, update, 1)
        for copy in range(1, copies + 1):
            self._push(now + delay_s + copy * behaviour.duplicate_delay_ms / 1000, update, 1)

    async def post_now(self, updates: Sequence[Update]) -> None:
        """Post ahead of everything and wait for the answer; retries are left to the queue."""
        if not updates:
            return
        self._pending += len(updates)
        self._idle.clear()
        await self._post(self._batch(updates[0].target, list(updates)))

    def flush(self) -> None:
        """Make everything that waits due now: retries, delayed and paused updates."""
        now = asyncio.get_running_loop().time()
        self._timed = [(now, order, one) for _, order, one in sorted(self._timed)]
        self.wake()

    def wake(self) -> None:
        """Move what is due to ready, start webhooks, set the timer for the rest."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._timed and self._timed[0][0] <= now:
            one = heapq.heappop(self._timed)[2]
            if isinstance(one, _Batch):
                self._ready_batches.append(one)
            else:
                self._ready.setdefault(id(one.target), deque()).append(one)
        behaviour = self._behaviour()
        next_at = self._timed[0][0] if self._timed else None
        free = behaviour.max_in_flight - len(self._tasks)
        if (self._ready or self._ready_batches) and free > 0 and not behaviour.paused:
            if now >= self._round_at:
                self._start_round(behaviour, free)
                window = behaviour.batch_window_ms if behaviour.batch_max > 1 else 0
                self._round_at = now + window / 1000
            else:
                next_at = self._round_at if next_at is None else min(next_at, self._round_at)
        if next_at is not None:
            self._timer = loop.call_at(next_at, self.wake)

    def _push(self, due: float, one: Update | _Batch, size: int) -> None:
        self._pending += size
        self._idle.clear()
        heapq.heappush(self._timed, (due, next(self._order), one))
        if self._timed[0][2] is one:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_at(due, self.wake)

    def _start_round(self, behaviour: WebhookBehaviour, free: int) -> None:
        while free > 0 and self._ready_batches:
            self._launch(self._ready_batches.popleft())
            free -= 1
        for key in list(self._ready):
            queue = self._ready[key]
            while free > 0 and queue:
                self._launch(self._take(queue, behaviour))
                free -= 1
            if not queue:
                del self._ready[key]

    def _take(self, queue: deque[Update], behaviour: WebhookBehaviour) -> _Batch:
        """Cut the next webhook off the queue; a raw payload is one of its own."""
        first = queue.popleft()
        updates = [first]
        if first.raw is None:
            while queue and len(updates) < behaviour.batch_max and queue[0].raw is None:
                updates.append(queue.popleft())
            if behaviour.shuffle:
                self._random.shuffle(updates)
        batch = self._batch(first.target, updates)
        while len(batch.body) > webhooks.MAX_BYTES and len(updates) > 1:
            half = len(updates) // 2
            queue.extendleft(reversed(updates[half:]))
            del updates[half:]
            batch = self._batch(first.target, updates)
        return batch

    def _batch(self, target: Target, updates: list[Update]) -> _Batch:
        body = updates[0].raw
        if body is None:
            body = webhooks.encode(payload_of(updates, self._numbers))
        now = asyncio.get_running_loop().time()
        first_at = min(update.first_at or now for update in updates)
        attempts = max(update.attempts for update in updates)
        return _Batch(target, updates, body, first_at, self._epoch, attempts)

    def _launch(self, batch: _Batch) -> None:
        task = asyncio.get_running_loop().create_task(self._post(batch))
        self._tasks.add(task)
        task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a webhook could not be posted", "exception": error, "task": task}
            )
        if self._ready or self._ready_batches:
            self.wake()

    async def _post(self, batch: _Batch) -> None:
        behaviour = self._behaviour()
        batch.attempts += 1
        code, error = await self._request(batch, behaviour)
        if batch.epoch != self._epoch:
            self._settle(len(batch.updates))
            return
        self.counts["posted"] += 1
        self.counts[f"answered_{code}"] += 1
        if code == 200:
            self._delivered(batch, behaviour)
        else:
            self._failed(batch, behaviour, error)

    async def _request(self, batch: _Batch, behaviour: WebhookBehaviour) -> tuple[int, str]:
        if self._session is None:
            raise RuntimeError("the dispatcher is not started")
        try:
            async with self._session.post(
                batch.target.url,
                data=upload(batch.body),
                headers=webhooks.signed_headers(batch.body, batch.target.secret),
                timeout=aiohttp.ClientTimeout(total=behaviour.timeout_ms / 1000),
                allow_redirects=False,
            ) as answer:
                await answer.read()
                return answer.status, f"HTTP {answer.status}"
        except (aiohttp.ClientError, TimeoutError) as error:
            return 0, type(error).__name__

    def _delivered(self, batch: _Batch, behaviour: WebhookBehaviour) -> None:
        if not batch.again:
            self.counts["delivered"] += len(batch.updates)
            for update in batch.updates:
                if update.event is not None:
                    update.event.state = "DELIVERED"
                    update.event.error = None
            ratio = behaviour.late_retry_ratio
            if ratio and self._random.random() < ratio:
                self.counts["late_retries"] += 1
                copy = replace(batch, attempts=0, again=True)
                due = asyncio.get_running_loop().time() + behaviour.late_retry_ms / 1000
                self._push(due, copy, len(copy.updates))
        self._settle(len(batch.updates))

    def _failed(self, batch: _Batch, behaviour: WebhookBehaviour, error: str) -> None:
        now = asyncio.get_running_loop().time()
        over = now - batch.first_at >= behaviour.retry_for_s
        for update in batch.updates:
            if update.event is not None:
                update.event.state = "FAILED" if over else "RETRYING"
                update.event.error = error
        if over:
            self.counts["given_up"] += len(batch.updates)
        else:
            self.counts["retried"] += 1
            power = min(batch.attempts - 1, 32)
            wait = min(
                behaviour.retry_max_ms, behaviour.retry_initial_ms * behaviour.retry_factor**power
            )
            wait *= 1 - behaviour.retry_jitter * self._random.random()
            due = now + wait / 1000
            if behaviour.rebatch_on_retry and batch.updates[0].raw is None:
                for update in batch.updates:
                    update.attempts, update.first_at = batch.attempts, batch.first_at
                    self._push(due, update, 1)
            else:
                self._push(due, batch, len(batch.updates))
        self._settle(len(batch.updates))

    def _settle(self, count: int) -> None:
        self._pending -= count
        if self._pending == 0:
            self._idle.set()


def payload_of(updates: Sequence[Update], numbers: Callable[[str], webhooks.Number]) -> Json:
    """Return one webhook: entries by WABA, changes by number and member, in order of arrival."""
    groups: dict[tuple[str, str | None], list[Update]] = {}
    for update in updates:
        groups.setdefault((update.number_id, update.member), []).append(update)
    entries: dict[str, list[Json]] = {}
    for (number_id, member), members in groups.items():
        number = numbers(number_id)
        value: Json = {"messaging_product": "whatsapp", "metadata": number.metadata()}
        contacts = {str(one.contact): one.contact for one in members if one.contact}
        if contacts:
            value["contacts"] = list(contacts.values())
        value[member or "statuses"] = [one.item for one in members]
        entries.setdefault(number.waba_id, []).append(webhooks.change(value))
    return {
        "object": "whatsapp_business_account",
        "entry": [{"id": waba, "changes": changes} for waba, changes in entries.items()],
    }
