"""A pod stopped, or dead, at every point of the write path while others go on."""

import asyncio
import os
import random
from collections.abc import Sequence

import pytest

from shared.contracts.errors import TransientError
from tests.support.pods import Pod, World
from tests.support.schedule import Hold
from tests.support.scripted_publisher import AnswersLost, KafkaAway, Late
from tests.support.write_path_checker import violations

pytestmark = pytest.mark.integration
POINTS = (
    "loaded",
    "looked_up",
    "committed",
    "send",
    "write",
    "written",
    "acknowledged",
    "published",
)
SEEDS = range(int(os.environ.get("CONSISTENCY_SEEDS", "4")))


@pytest.mark.parametrize("point", POINTS)
async def test_pod_that_stops_or_dies_at_a_point_harms_nothing(world: World, point: str):
    """The first customer's pod goes on as a zombie, the second one's dies."""
    other = world.pod()
    for who in (1, 2):
        pod = world.pod()
        stop = pod.script.hold(point)
        doing = pod.consume(world.echo(f"a{who}", who), world.message(f"b{who}", who))
        await stop.reached()
        await other.consume_again(world.batches[-1])
        await other.label("l1", who)
        await other.consume(world.status(f"a{who}", "read", who), world.message(f"c{who}", who))
        await other.published()
        await other.trim()
        if who == 1:
            stop.release()
            await doing
            await pod.trim()
        else:
            await pod.crash()
    assert await violations(world) == []


@pytest.mark.parametrize("landing", [None, 1, 0], ids=["all", "a prefix", "none"])
async def test_records_that_land_late_are_repeats(world: World, landing: int | None):
    """A produce times out; its records land after other pods told the same and more."""
    one, other = world.pod(), world.pod()
    late = Late()
    one.publisher.expect(late)
    with pytest.raises(TransientError):
        await one.consume(world.message("m1"), world.message("m2"))
    await other.label("l1")
    await other.published()
    await late.land(landing)
    assert await violations(world) == []


async def test_answers_lost_are_told_again(world: World):
    """Kafka has the records, the pod does not know: it repeats them byte for byte."""
    pod = world.pod()
    pod.publisher.expect(AnswersLost())
    with pytest.raises(TransientError):
        await pod.consume(world.message("m1"))
    await pod.consume_again()
    told = await world.topic.told(world.conversation())
    assert len(told) == 2 * len(set(told))
    assert await violations(world) == []


async def test_same_message_in_one_batch_and_in_two_conversations_at_once(world: World):
    """One conversation of a batch loses its commit, the other one is not applied twice."""
    one, other = world.pod(), world.pod()
    before_commit = one.script.hold("looked_up")
    doing = one.consume(
        world.message("m1"), world.message("m1"), world.message("m2", 2), world.message("m2", 2)
    )
    await before_commit.reached()
    await other.consume(world.message("m2", 2))
    await other.trim()
    before_commit.release()
    await doing
    assert await violations(world) == []


async def test_regression_many_calls_at_once_are_all_answered(world: World):
    """On one conversation, from two pods: more calls than a lost commit has rounds."""
    one, other = world.pod(), world.pod()
    await one.consume(world.message("m1"))
    await asyncio.gather(
        *(
            pod.label(f"{name}{number}")
            for name, pod in (("a", one), ("b", other))
            for number in range(40)
        )
    )
    assert len(world.answered) == 80
    await one.published()
    await other.published()
    assert await violations(world) == []


@pytest.mark.parametrize("seed", SEEDS)
async def test_random_schedules_harm_nothing(world: World, seed: int):
    """Three pods that stop, die, lose Kafka and meet each other's work (CONSISTENCY_SEEDS=n)."""
    async with asyncio.timeout(40):
        await _RandomSchedule(world, random.Random(seed)).run(steps=40)
    assert await violations(world) == [], f"seed {seed}"


class _RandomSchedule:
    def __init__(self, world: World, choice: random.Random) -> None:
        self._world = world
        self._choice = choice
        self._pods = [world.pod() for _ in range(3)]
        self._holds: list[Hold] = []
        self._lates: list[Late] = []
        self._running: list[asyncio.Task[None]] = []
        self._names: list[tuple[str, int]] = []

    async def run(self, steps: int) -> None:
        for step in range(steps):
            pod = self._choice.choice(self._pods)
            await self._step(step, pod, self._choice.choice((1, 2)))
            if self._choice.random() < 0.5:
                await self._progress()
        for hold in self._holds:
            hold.release()
        for late in self._lates:
            await late.land()

    async def _step(self, step: int, pod: Pod, who: int) -> None:
        world, choice = self._world, self._choice
        match choice.choice(_STEPS):
            case "message":
                self._names.append((f"m{step}", who))
                self._running.append(pod.consume(world.echo(f"m{step}", who)))
            case "status" if self._names:
                name, who = choice.choice(self._names)
                status = choice.choice(("delivered", "read"))
                self._running.append(pod.consume(world.status(name, status, who)))
            case "again" if world.batches:
                self._running.append(pod.consume_again(choice.choice(world.batches)))
            case "label" if any(where == who for _, where in self._names):
                self._running.append(pod.label(f"l{step}", who))
            case "sweep":
                self._running.append(pod.sweep())
            case "trim":
                self._running.append(pod.trim())
            case "hold":
                self._holds.append(pod.script.hold(choice.choice(POINTS)))
            case "release" if self._holds:
                self._holds.pop(choice.randrange(len(self._holds))).release()
            case "crash":
                await pod.crash()
                self._pods[self._pods.index(pod)] = world.pod()
            case "trouble":
                pod.publisher.expect(choice.choice((KafkaAway, AnswersLost))())
            case "late":
                self._lates.append(Late())
                pod.publisher.expect(self._lates[-1])
            case _:
                pass

    async def _progress(self) -> None:
        """Until somebody ended, or for a moment: they may all stand at a point."""
        running: Sequence[asyncio.Task[None]] = [t for t in self._running if not t.done()]
        if running:
            await asyncio.wait(running, timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
        self._running = [t for t in running if not t.done()]


_STEPS = (
    *("message",) * 4,
    *("status",) * 4,
    *("again",) * 3,
    *("label",) * 3,
    *("hold",) * 3,
    *("release",) * 2,
    *("trim",) * 2,
    "sweep",
    "crash",
    "trouble",
    "late",
)
