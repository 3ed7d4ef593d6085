"""Routing as processes: events in, decisions out, an inbox that applies them, and losses."""

import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.contracts.directory import Policy
from shared.contracts.topics import (
    AGENT_EVENTS,
    CONVERSATION_EVENTS,
    DIRECTORY,
    ROUTING_DECISIONS,
)
from shared.kafka.settings import KafkaSettings
from shared.kafka.topics import ensure_topics
from shared.redis.client import RedisClient
from tests.integration.routing.inbox_model import InboxModel
from tests.integration.routing.routing_rig import Inbox, Pod, inbox, routing, until
from tests.support.redis_server import RedisServer
from tests.support.stack import Addresses

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

LEAST_BUSY = Policy(strategy="least_busy")


@pytest.fixture
async def settings(stack: Addresses, topic_prefix: str) -> KafkaSettings:
    made = KafkaSettings(kafka_servers=stack.kafka_servers, topic_prefix=topic_prefix)
    topics = [CONVERSATION_EVENTS, AGENT_EVENTS, DIRECTORY, ROUTING_DECISIONS]
    await ensure_topics(made, partitions=3, topics=topics)
    return made


@pytest.fixture
async def world(settings: KafkaSettings) -> AsyncIterator[Inbox]:
    async with inbox(settings, InboxModel({"ana": 2, "luis": 2})) as made:
        yield made


@pytest.fixture
async def pods(
    settings: KafkaSettings, world: Inbox, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[list[Pod]]:
    async with contextlib.AsyncExitStack() as running:
        made = []
        for number in range(2):
            log = tmp_path / f"routing-{number}.log"
            made.append(
                await running.enter_async_context(
                    routing(settings, redis_server.url, world.url, log)
                )
            )
        for pod in made:
            await pod.ready()
        yield made


async def write(world: Inbox, *chats: str) -> None:
    for chat in chats:
        world.model.customer_writes(chat)
    await world.publish()


def close_one(world: Inbox) -> None:
    chats = world.model.chats.values()
    world.model.close(next(chat.id for chat in chats if chat.status == "open"))


def within_capacity(world: Inbox) -> bool:
    return all(world.model.load(agent) <= most for agent, most in world.model.capacity.items())


async def test_chats_are_assigned_up_to_capacity_and_slots_are_reused(
    world: Inbox, pods: list[Pod]
) -> None:
    await world.set_up(LEAST_BUSY)
    await world.presence("ana", "luis")
    chats = [f"c{number}" for number in range(8)]
    await write(world, *chats)
    closed: list[str] = []
    while len(closed) < len(chats):
        done = len(closed)
        await until(lambda done=done: len(world.model.applied) > done)
        assert within_capacity(world)
        chat = world.model.applied[done]["conversation_id"]
        world.model.close(chat)
        closed.append(chat)
        await world.publish()
    assert sorted(closed) == chats
    assert all(one["explanation"]["rule"] == "least_busy" for one in world.model.applied)


async def test_changed_policy_applies_to_who_waits(world: Inbox, pods: list[Pod]) -> None:
    await world.set_up(Policy())
    await world.presence("ana", "luis")
    await write(world, "c1", "c2")
    await until(lambda: len(world.decisions) == 2)
    assert {one["reason"] for one in world.decisions} == {"manual"}
    await world.set_up(LEAST_BUSY, version=2)
    await until(lambda: world.model.waiting() == [], 10)


async def test_redis_flushed_in_the_middle_and_everything_recovers(
    world: Inbox, pods: list[Pod], redis: RedisClient
) -> None:
    await world.set_up(LEAST_BUSY)
    await world.presence("ana", "luis")
    await write(world, "c0", "c1", "c2", "c3", "c4")
    await until(lambda: len(world.model.applied) == 4)
    listings = world.listings
    [left] = world.model.waiting()
    await redis.raw.flushall()
    close_one(world)
    await write(world, "c5")
    await until(lambda: world.listings > listings)
    # Presence is unknown now, so nobody is given anything until it is repeated.
    await world.presence("ana", "luis")
    await until(lambda: len(world.model.applied) == 5)
    assert world.model.applied[-1]["conversation_id"] == left
    assert within_capacity(world)
    for pod in pods:
        await pod.ready()
    for _ in range(2):
        close_one(world)
    await world.publish()
    await until(lambda: world.model.waiting() == [])


async def test_redis_killed_with_lost_writes_and_everything_recovers(
    world: Inbox, pods: list[Pod], redis_server: RedisServer
) -> None:
    await world.set_up(LEAST_BUSY)
    await world.presence("ana", "luis")
    await write(world, "c0", "c1", "c2", "c3", "c4")
    await until(lambda: len(world.model.applied) == 4)
    listings = world.listings
    redis_server.kill()
    close_one(world)
    await write(world, "c5")
    redis_server.start()
    await until(lambda: world.listings > listings)
    await world.presence("ana", "luis")
    await until(lambda: world.model.load("ana") + world.model.load("luis") == 4)
    assert within_capacity(world)
    for _ in range(2):
        close_one(world)
    await world.publish()
    await until(lambda: world.model.waiting() == [])
    for pod in pods:
        await pod.ready()


async def test_pod_killed_between_others_go_on(world: Inbox, pods: list[Pod]) -> None:
    await world.set_up(LEAST_BUSY)
    await world.presence("ana", "luis")
    await write(world, "c0")
    await until(lambda: len(world.model.applied) == 1)
    await pods[0].stop(signal.SIGKILL)
    await write(world, "c1", "c2", "c3")
    await until(lambda: world.model.waiting() == [], 40)


async def test_chats_older_than_the_topic_are_routed_after_the_first_start(
    settings: KafkaSettings, world: Inbox, redis_server: RedisServer, tmp_path: Path
) -> None:
    for number in range(4):
        world.model.customer_writes(f"old{number}")
    world.model.accept("old0", "ana")
    world.published = len(world.model.events)
    await world.set_up(LEAST_BUSY)
    log = tmp_path / "routing.log"
    world.away = True
    async with routing(settings, redis_server.url, world.url, log) as pod:
        await pod.unready(["rebuild"])
        world.away = False
        await pod.ready()
        await world.presence("ana", "luis")
        await until(lambda: world.model.waiting() == [])
        assert within_capacity(world)
        status, state = await pod.get("/internal/v1/state?tenant=acme")
        assert (status, state["built"]) == (200, True)
        assert {one["id"] for one in state["agents"]} == {"ana", "luis"}
        assert (await pod.get("/internal/v1/state?tenant=acme", token="x"))[0] == 401
        assert (await pod.get("/internal/v1/state?tenant=nobody"))[0] == 404
        assert (await pod.get("/livez"))[0] == 200
        assert await pod.stop() == 0
