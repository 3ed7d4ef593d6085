"""Who is there, and who looks at what."""

import asyncio
from datetime import timedelta
from typing import Any

import orjson
import pytest

from services.notifier.model import PresenceState
from services.notifier.storage.presence import Beat, PresenceStore
from services.notifier.workflows.presence import presence_record
from shared.contracts.envelope import read_envelope
from shared.contracts.events import AgentPresence
from shared.redis.client import RedisClient
from shared.redis.settings import RedisSettings
from tests.integration.notifier.conftest import Open, StartPod, introduce
from tests.integration.notifier.pods import Pod
from tests.integration.notifier.world import Chat, Tenant
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.integration


def store_of(pod: Pod, *, limit: int = 3) -> PresenceStore:
    return PresenceStore(pod.app.redis, heartbeat=timedelta(seconds=10), limit=limit)


async def test_first_and_last_socket_are_transitions_with_a_rising_counter(pod: Pod) -> None:
    store = store_of(pod)
    states = [
        await store.join("t", "a", "s1"),
        await store.join("t", "a", "s2"),
        await store.leave("t", "a", "s1"),
        await store.leave("t", "a", "s2"),
        await store.join("t", "a", "s3"),
    ]
    assert [(s.present, s.changed) for s in states] == [
        (True, True),
        (True, False),
        (True, False),
        (False, True),
        (True, True),
    ]
    counters = [s.counter for s in states if s.changed]
    assert counters == sorted(set(counters))


async def test_a_repeated_join_or_leave_changes_nothing(pod: Pod) -> None:
    store = store_of(pod)
    first = await store.join("t", "a", "s1")
    again = await store.join("t", "a", "s1")
    assert (again.changed, again.counter) == (False, first.counter)
    gone = await store.leave("t", "a", "s1")
    assert (await store.leave("t", "a", "s1")).counter == gone.counter


async def test_any_pod_expires_the_sockets_of_a_dead_one(
    redis_server: RedisServer, topic_prefix: str
) -> None:
    settings = RedisSettings(redis_url=redis_server.url, redis_prefix=topic_prefix)
    redis = RedisClient(settings, client_name="test")
    dying, living = (
        PresenceStore(redis, heartbeat=timedelta(seconds=0.1), limit=3) for _ in range(2)
    )
    await dying.join("t", "a", "dead:1")
    due: list[tuple[str, str]] = []
    async with asyncio.timeout(5):
        while not due:
            due = await living.claim_due(10)
            await asyncio.sleep(0.02)
    assert due == [("t", "a")]
    assert await living.claim_due(10) == [], "one pod at a time"
    async with asyncio.timeout(5):
        while (state := await living.look("t", "a")).present:  # noqa: ASYNC110 - Redis's clock
            await asyncio.sleep(0.02)
    assert state.changed
    await redis.aclose()


async def test_a_beat_keeps_a_socket_and_heals_a_lost_one(pod: Pod) -> None:
    store = store_of(pod)
    joined = await store.join("t", "a", "s1")
    await pod.app.redis.raw.flushdb()
    (state,) = await store.beat([Beat("t", "a", ("s1",))])
    assert (state.present, state.changed) == (True, True)
    assert state.counter > joined.counter, "readers drop what is older"


async def test_too_many_sockets_are_refused(pod: Pod) -> None:
    store = store_of(pod, limit=2)
    states = [await store.join("t", "a", f"s{n}") for n in range(3)]
    assert [s.refused for s in states] == [False, False, True]
    await store.leave("t", "a", "s0")
    assert not (await store.join("t", "a", "s2")).refused


def test_a_repeated_state_is_the_same_record() -> None:
    state = PresenceState("t", "a", present=True, counter=7, since=1_780_000_000.5)
    repeated = PresenceState("t", "a", present=True, counter=7, since=1_780_000_000.5, expires_at=9)
    record = presence_record(state)
    assert record == presence_record(repeated)
    AgentPresence.model_validate(orjson.loads(record.value or b""))
    envelope = read_envelope(record.headers)
    assert (envelope.type, envelope.sequence, record.key) == ("agent.presence", 7, b"a")


async def test_who_views_a_chat_is_told_to_those_who_see_it(
    pod: Pod, tenant: Tenant, connect: Open, start_pod: StartPod
) -> None:
    second = await start_pod()
    await introduce(second, tenant)
    ana, luis = await connect("ana"), await connect("luis", on=second)
    eva = await connect("eva")
    chat = Chat(tenant)
    await pod.feed(chat.received())
    for socket in (ana, luis, eva):
        await socket.until(1)
    await ana.send(type="presence", viewing=chat.id, typing=False)
    assert await luis.of_type("presence") == told(chat, "ana")
    await luis.send(type="presence", viewing=chat.id, typing=True)
    assert await ana.of_type("presence") == told(chat, "luis", typing=True)
    assert await luis.of_type("presence") == told(chat, "ana"), "the answer for who came later"
    await pod.feed(chat.assigned("ana"))
    for socket in (ana, luis, eva):
        await socket.until(2)
    await ana.send(type="presence", viewing=chat.id, typing=True)
    assert await others(eva, luis) == 0


async def test_a_closed_stream_views_nothing_any_more(
    pod: Pod, tenant: Tenant, connect: Open
) -> None:
    ana, luis = await connect("ana"), await connect("luis")
    chat = Chat(tenant)
    await pod.feed(chat.received())
    await luis.until(1)
    await ana.send(type="presence", viewing=chat.id, typing=True)
    await luis.of_type("presence")
    await ana.close()
    assert await luis.of_type("presence") == told(chat, "ana", viewing=False)


async def test_agents_do_not_learn_that_a_supervisor_looks(
    pod: Pod, tenant: Tenant, connect: Open
) -> None:
    await pod.feed(tenant.agent("sam", role="supervisor"))
    ana, sol, sam = await connect("ana"), await connect("sol"), await connect("sam")
    chat = Chat(tenant)
    await pod.feed(chat.received(), chat.assigned("ana"))
    for socket in (ana, sol, sam):
        await socket.until(2)
    await sol.send(type="presence", viewing=chat.id, typing=False)
    assert await sam.of_type("presence") == told(chat, "sol")
    await ana.send(type="ping")
    assert (await ana.frame())["type"] == "pong"
    await ana.send(type="presence", viewing=chat.id, typing=False)
    assert await sol.of_type("presence") == told(chat, "ana")


async def test_viewing_a_chat_that_one_does_not_see_is_told_to_nobody(
    pod: Pod, tenant: Tenant, connect: Open
) -> None:
    ana, luis = await connect("ana"), await connect("luis")
    chat = Chat(tenant)
    await pod.feed(chat.received(), chat.assigned("ana"))
    await ana.until(2)
    await luis.send(type="presence", viewing=chat.id, typing=True)
    await luis.settled()
    await ana.send(type="ping")
    assert (await ana.frame())["type"] == "pong"


def told(chat: Chat, agent: str, *, viewing: bool = True, typing: bool = False) -> dict[str, Any]:
    return {
        "type": "presence",
        "conversation_id": chat.id,
        "agent": {"id": agent, "name": agent.title()},
        "viewing": viewing,
        "typing": typing and viewing,
    }


async def others(*sockets: Any) -> int:
    """Presence frames about a typing ana that came before a pong."""
    count = 0
    for socket in sockets:
        await socket.send(type="ping")
        while (frame := await socket.frame())["type"] != "pong":
            count += frame["type"] == "presence" and frame["agent"]["id"] == "ana"
            count -= frame["type"] == "presence" and not frame["typing"]
    return count
