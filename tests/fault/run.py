"""One run: load on a system whose parts are killed in turn, then what became of everything."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import aiohttp

from deploy.local.ports import INFRASTRUCTURE
from shared.testing.webhooks import Delivery, WebhookDriver
from tests.fault.checker import Verdict, check
from tests.fault.customers import Load
from tests.fault.desk import Desk
from tests.fault.harvest import Harvest
from tests.fault.office import PHONES, RestError, found_office
from tests.fault.recording import Recording
from tests.fault.screen import Screen
from tests.fault.system import ATRIO, System, plain_environment, until

RECOVERY_SECONDS: Final = 30.0
PARTS: Final = (*ATRIO, *INFRASTRUCTURE)
_APP_SECRET: Final = "app-secret"
_AS_META_DOES: Final = {
    "duplicate_ratio": 0.1,
    "late_retry_ratio": 0.1,
    "reorder_ratio": 0.1,
    "jitter_ms": 50,
}
"""How statuses come."""
Tell = Callable[[str], None]


class Turn(StrEnum):
    """What a turn does to each part: kill it, kill it beside another one, or stop it for a while.

    A part that is stopped keeps its connections: what it was asked may still happen afterwards.
    `takeover` stops a service until a second pod has its partitions, lets it go on as if nothing
    had happened, and kills one of the two, then the twin.
    """

    KILL = "kill"
    PAIRS = "pairs"
    FREEZE = "freeze"
    TAKEOVER = "takeover"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done to whom: turns from the first on, whole ones, until `seconds` of load are over.

    A short run is one turn: every part is killed once.
    """

    home: Path
    seed: int
    seconds: float = 45.0
    customers: int = 300
    rate: float = 100.0
    parts: tuple[str, ...] = PARTS
    turns: tuple[Turn, ...] = (Turn.KILL, Turn.PAIRS, Turn.FREEZE, Turn.TAKEOVER)


@dataclass(frozen=True, slots=True)
class Recovery:
    """A fault: how long its parts were away and how long after their return all worked again."""

    fault: str
    away: float
    recovered: float | None


@dataclass(slots=True)
class Outcome:
    """`late`: what was still on its way when the deadline after the load was over."""

    recording: Recording
    verdict: Verdict = field(default_factory=Verdict)
    recoveries: list[Recovery] = field(default_factory=list)
    late: str | None = None
    settled_after: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def unrecovered(self) -> list[str]:
        return [one.fault for one in self.recoveries if one.recovered is None]


async def run(plan: Plan, tell: Tell) -> Outcome:
    """Everything from an empty folder to the verdict; the system is stopped at the end."""
    with plain_environment():
        system = System(plan.home, tell)
        try:
            await system.start()
            timeout = aiohttp.ClientTimeout(total=10)
            async with aiohttp.ClientSession(timeout=timeout) as session:
                return await _Run(plan, system, session, tell).all()
        finally:
            await system.stop()


class _Run:
    def __init__(
        self, plan: Plan, system: System, session: aiohttp.ClientSession, tell: Tell
    ) -> None:
        self._plan = plan
        self._system = system
        self._session = session
        self._tell = tell
        self._random = random.Random(plan.seed)
        self._outcome = Outcome(Recording())

    async def all(self) -> Outcome:
        office = await found_office(self._session, self._system.url("inbox"))
        graph = self._system.url("graph") + "/_control"
        async with self._session.patch(f"{graph}/webhooks", json=_AS_META_DOES) as answer:
            answer.raise_for_status()
        for phone, shown in PHONES.items():
            url = f"{graph}/numbers/{phone}"
            async with self._session.put(url, json={"display_phone_number": shown}) as answer:
                answer.raise_for_status()
        self._screens = [
            Screen(person, self._system.url("notifier"), seed=self._random.getrandbits(32))
            for person in office.people
        ]
        self._watcher = next(one for one in self._screens if one.person.supervises)
        self._desks = [
            Desk(screen, office, seed=self._random.getrandbits(32))
            for screen in self._screens
            if screen is not self._watcher
        ]
        harvest = Harvest(self._system, office, self._session)
        try:
            async with self._driver() as driver, _background([s.run() for s in self._screens]):
                self._load = Load(
                    driver,
                    seed=self._plan.seed,
                    count=self._plan.customers,
                    rate=self._plan.rate,
                    now=int(time.time()),
                )
                await self._warm_up(harvest)
                await self._hurt()
                await self._settle(harvest)
                self._outcome.counts.update(
                    {f"webhooks answered {c}": n for c, n in driver.tally.answers.items()}
                )
                await self._record(harvest)
        finally:
            harvest.close()
        return self._outcome

    def _driver(self) -> WebhookDriver:
        url = self._system.url("ingest") + "/webhooks/whatsapp"
        return WebhookDriver(
            url, _APP_SECRET, delivery=Delivery(timeout_s=10), seed=self._plan.seed
        )

    async def _warm_up(self, harvest: Harvest) -> None:
        """A new number is known to ingest within 5 s; until then its items wait in quarantine."""
        if not await until(lambda: all(one.current for one in self._screens), RECOVERY_SECONDS):
            raise TimeoutError("the screens are not connected")
        await self._load.begin()
        if not await until(lambda: bool(self._watcher.seen), RECOVERY_SECONDS):
            raise TimeoutError("the first message was not seen")
        await harvest.count_quarantined()

    async def _hurt(self) -> None:
        """The load, and the faults spread over it."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._load.run())
            for desk in self._desks:
                group.create_task(desk.run())
            try:
                await self._faults(began)
            finally:
                self._load.stop()
                for desk in self._desks:
                    desk.stop()
        took = time.monotonic() - began
        self._tell(
            f"load: {self._load.acknowledged} messages acknowledged in {took:.0f} s, "
            f"{sum(len(desk.answered_at) for desk in self._desks)} sends"
        )

    async def _faults(self, began: float) -> None:
        end = began + self._plan.seconds
        for turn in itertools.cycle(self._plan.turns):
            faults = self._faults_of(turn)
            for position, parts in enumerate(faults):
                left = max(0.0, end - time.monotonic()) / (len(faults) - position + 1)
                await asyncio.sleep(min(5.0, left) * self._random.uniform(0.3, 1.0) + 0.5)
                await self._fault(turn, parts)
            if time.monotonic() > end:
                return

    def _faults_of(self, turn: Turn) -> list[tuple[str, ...]]:
        services: list[str] = [part for part in ATRIO if part in self._plan.parts]
        servers: list[str] = [part for part in INFRASTRUCTURE if part in self._plan.parts]
        self._random.shuffle(services)
        self._random.shuffle(servers)
        if turn is Turn.TAKEOVER:
            return [(service,) for service in services]
        if turn is Turn.PAIRS:
            pairs = itertools.zip_longest(servers, services, fillvalue="inbox")
            return [tuple(dict.fromkeys(pair)) for pair in pairs]
        return [(part,) for part in services + servers]

    async def _fault(self, turn: Turn, parts: tuple[str, ...]) -> None:
        name = f"{turn} {' and '.join(parts)}"
        began = time.monotonic()
        if turn is Turn.FREEZE:
            await self._freeze(parts, self._random.uniform(2.0, 14.0))
        elif turn is Turn.TAKEOVER:
            await self._take_over(parts[0])
        else:
            for part in parts:
                self._system.kill(part)
            await self._system.restore(parts)
        back = time.monotonic()
        recovered = await self._recovered(back)
        self._outcome.recoveries.append(Recovery(name, back - began, recovered))
        after = "NOT" if recovered is None else f"{recovered:.1f} s after it was back"
        self._tell(f"  {name:<24} away {back - began:.1f} s, recovered {after}")

    async def _freeze(self, parts: Sequence[str], seconds: float) -> None:
        """Around the limits at which the others give up on it."""
        for part in parts:
            self._system.freeze(part)
        try:
            await asyncio.sleep(seconds)
        finally:
            for part in parts:
                self._system.thaw(part)

    async def _take_over(self, part: str) -> None:
        twin = await self._system.start_twin(part)
        await self._freeze([part], self._random.uniform(11.0, 15.0))
        await asyncio.sleep(self._random.uniform(0.0, 2.0))
        if self._random.random() < 0.5:
            self._system.kill(part)
            await self._system.restore([part])
        self._system.kill(twin)

    async def _recovered(self, back: float) -> float | None:
        """Seconds until all are ready and something new went all the way, in and out."""
        while time.monotonic() < back + RECOVERY_SECONDS:
            if (
                self._inbound_flows(back)
                and self._outbound_flows(back)
                and not await self._system.unready()
            ):
                return time.monotonic() - back
            await asyncio.sleep(0.1)
        unready = await self._system.unready()
        self._tell(
            f"  inbound flows: {self._inbound_flows(back)}, "
            f"outbound flows: {self._outbound_flows(back)}, not ready: {unready}"
        )
        return None

    def _inbound_flows(self, back: float) -> bool:
        offered = self._load.offered
        return any(at > back and offered.get(m, 0) > back for m, at in self._watcher.seen.items())

    def _outbound_flows(self, back: float) -> bool:
        settled = self._watcher.settled
        return any(
            at > back and message in settled
            for desk in self._desks
            for message, at in desk.answered_at.items()
        )

    async def _settle(self, harvest: Harvest) -> None:
        """Within the deadline everything is where it belongs and every screen is current."""
        began, before = time.monotonic(), None
        while True:
            late = await self._unsettled(harvest)
            self._outcome.settled_after = time.monotonic() - began
            if late != before:
                self._tell(f"  {self._outcome.settled_after:4.1f} s: {late or 'at rest'}")
                before = late
            if late is None or self._outcome.settled_after > RECOVERY_SECONDS:
                break
            await asyncio.sleep(0.3)
        self._outcome.late = late

    async def _unsettled(self, harvest: Harvest) -> str | None:
        try:
            late = await harvest.unsettled(self._load.acknowledged)
            if late is not None:
                return late
            for screen in self._screens:
                if not screen.current:
                    return f"{screen.person.name} is not connected"
                if screen.conversations != await screen.person.conversations():
                    return f"{screen.person.name} sees something else than REST"
        except RestError as error:
            return str(error)
        return None

    async def _record(self, harvest: Harvest) -> None:
        recording, load = self._outcome.recording, self._load
        recording.posted = {
            f"customer {n}": list(line.posted) for n, line in enumerate(load.lines) if line.posted
        }
        recording.offered = set(load.offered)
        recording.reactions = dict(load.reactions)
        recording.sends = [send for desk in self._desks for send in desk.sends]
        recording.actions = [action for desk in self._desks for action in desk.actions]
        await harvest.gather(recording)
        for screen in self._screens:
            name = screen.person.name
            recording.sockets[name] = dict(screen.conversations)
            recording.socket_messages[name] = dict(screen.messages)
            recording.breaches += screen.breaches
            self._outcome.counts.update({f"socket {k}": n for k, n in screen.counts.items()})
        recording.leftovers["parts that ended by themselves"] = len(self._system.dead())
        recording.leftovers["the ledger that differs"] = await self._system.unaccounted()
        for desk in self._desks:
            self._outcome.counts.update(desk.counts)
        self._outcome.counts.update({f"again {k}": n for k, n in load.again.items()})
        self._outcome.verdict = await asyncio.to_thread(check, recording)


@contextlib.asynccontextmanager
async def _background(works: Sequence[Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run these beside; a failure of one is raised at the end."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        for one in ended:
            if isinstance(one, Exception):
                raise one
