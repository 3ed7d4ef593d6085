"""What the feed does with replays, gaps, lost servers and rings that ran over."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.contracts.topics import AGENT_EVENTS, CONTACT_EVENTS
from shared.redis.client import RedisAwayError
from tests.integration.notifier.conftest import Open, StartPod, introduce
from tests.integration.notifier.pods import Pod
from tests.integration.notifier.world import Chat, Seen, Tenant, in_record, record
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.integration


async def test_a_zombies_replay_is_skipped(pod: Pod, tenant: Tenant, connect: Open) -> None:
    seen = Seen()
    ana = await connect("ana", seen=seen)
    chat = Chat(tenant)
    told = [chat.received(), chat.assigned("ana"), chat.received(), chat.held()]
    await pod.feed(*told)
    for start in range(len(told)):
        await pod.feed(*told[start:])
    await ana.until(4)
    assert len(await ana.settled()) == 4
    again = await connect("ana", cursor=ana.welcome["cursor"])
    assert await again.until(4) == seen.events
    assert pod.app.metrics.stale.labels("notifier")._value.get() == 10


async def test_a_gap_raises_the_epoch_and_everybody_resyncs(
    pod: Pod, tenant: Tenant, connect: Open
) -> None:
    ana = await connect("ana")
    old = ana.seen.cursor
    chat = Chat(tenant)
    await pod.feed(chat.received())
    await ana.until(1)
    chat.received()
    await pod.feed(chat.received())
    resync = await ana.of_type("resync")
    ana.seen.chats = {chat.id: 2}
    await ana.until(2)
    assert ana.seen.events[-1] == ("update", chat.id, 3)
    assert (await connect("ana", cursor=old)).welcome["resumed"] is False
    assert (await connect("ana", cursor=resync["cursor"])).welcome["resumed"] is True


async def test_the_first_version_ever_seen_may_be_any(
    pod: Pod, tenant: Tenant, connect: Open
) -> None:
    ana = await connect("ana")
    chat = Chat(tenant)
    for _ in range(5):
        later = chat.received()
    await pod.feed(later)
    ana.seen.chats = {chat.id: 4}
    assert await ana.until(1) == [("update", chat.id, 5)]


async def test_a_flushed_redis_resyncs_who_is_connected_and_who_returns(
    start_pod: StartPod, tenant: Tenant, own_redis: RedisServer, connect: Open
) -> None:
    pod = await start_pod(redis_url=own_redis.url, notifier_poll=0.1)
    await introduce(pod, tenant)
    ana = await connect("ana", on=pod)
    before = ana.seen.cursor
    await pod.app.redis.raw.flushall()
    resync = await ana.of_type("resync")
    assert (await connect("ana", on=pod, cursor=before)).welcome["resumed"] is False
    chat = Chat(tenant)
    await pod.feed(chat.received())
    assert await ana.until(1) == [("enter", chat.id, 1)]
    late = await connect("ana", on=pod, cursor=resync["cursor"])
    assert late.welcome["resumed"] is True
    assert await late.until(1) == ana.seen.events


async def test_a_restarted_redis_resyncs_and_goes_on(
    start_pod: StartPod, tenant: Tenant, own_redis: RedisServer, connect: Open
) -> None:
    pod = await start_pod(redis_url=own_redis.url, notifier_poll=0.1)
    await introduce(pod, tenant)
    ana = await connect("ana", on=pod)
    chat = Chat(tenant)
    await pod.feed(chat.received())
    await ana.until(1)
    own_redis.kill()
    next_event = in_record(chat.received())
    with pytest.raises(RedisAwayError):
        await pod.write_feed([next_event])
    own_redis.start()
    await until_written(pod, next_event)
    await ana.of_type("resync")
    ana.seen.chats = {chat.id: chat.version}
    await pod.feed(chat.received())
    await ana.of_type("event")
    assert ana.seen.events[-1][2] == chat.version


async def test_a_cursor_that_the_ring_lost_resyncs(
    start_pod: StartPod, tenant: Tenant, connect: Open
) -> None:
    pod = await start_pod(notifier_ring_events=20)
    await introduce(pod, tenant)
    ana = await connect("ana", on=pod)
    cursor = ana.seen.cursor
    chat, quiet = Chat(tenant), Chat(tenant, team="t1")
    await pod.feed(quiet.received())
    eva = await connect("eva", on=pod)
    await pod.feed(*[chat.received("x" * 500) for _ in range(600)])
    assert (await connect("ana", on=pod, cursor=cursor)).welcome["resumed"] is False
    recent = await connect("ana", on=pod)
    await pod.feed(*[chat.received() for _ in range(15)])
    again = await connect("ana", on=pod, cursor=recent.welcome["cursor"])
    assert again.welcome["resumed"] is True
    assert eva.welcome["resumed"] is False


async def test_a_team_change_while_connected_resyncs_with_the_new_tags(
    pod: Pod, tenant: Tenant, connect: Open
) -> None:
    ana = await connect("ana")
    old = ana.seen.cursor
    chat = Chat(tenant, team="t9")
    await pod.feed(chat.received(), presence(tenant, "luis"))
    assert (await ana.frame())["event"]["type"] == "agent.presence"
    assert ana.seen.events == []
    await pod.feed(tenant.agent("ana", teams=("t9",)))
    await ana.of_type("resync")
    await pod.feed(chat.transferred(team="t8"))
    ana.seen.chats = {chat.id: 1}
    assert await ana.until(1) == [("leave", chat.id, 2)]
    assert (await connect("ana", cursor=old)).welcome["resumed"] is False


async def test_a_supervisor_who_becomes_an_agent_sees_own_chats_only(
    pod: Pod, tenant: Tenant, connect: Open
) -> None:
    sol = await connect("sol")
    await pod.feed(tenant.agent("sol"))
    await sol.of_type("resync")
    chat = Chat(tenant, team="t1")
    await pod.feed(chat.received(), chat.assigned("ana"), presence(tenant, "luis"))
    assert (await sol.frame())["event"]["type"] == "agent.presence"
    assert sol.seen.events == []


async def test_contact_events_reach_supervisors_and_agent_events_everybody(
    pod: Pod, tenant: Tenant, connect: Open
) -> None:
    ana, sol = await connect("ana"), await connect("sol")
    contact = {"contact": {"id": "c1", "version": 3}, "actor": {"kind": "system"}}
    await pod.feed(plain(tenant, "contact.updated", "c1", 3, contact))
    await pod.feed(presence(tenant, "luis"))
    await pod.feed(presence(tenant, "luis"))
    told = await ana.frame()
    assert told["event"]["type"] == "agent.presence"
    assert "conversation_id" not in told["event"]
    types: list[str] = []
    while len(types) < 2:
        frame = await sol.frame()
        types += [item["event"]["type"] for item in frame.get("events", [frame])]
    assert types == ["contact.updated", "agent.presence"]
    await ana.send(type="ping")
    assert (await ana.frame())["type"] == "pong"


def presence(tenant: Tenant, agent: str) -> Any:
    """Everybody is told of it: whatever was written before has been read when it arrives."""
    data = {"agent_id": agent, "present": True, "at": "2026-06-01T12:00:00Z"}
    return plain(tenant, "agent.presence", agent, 1, data)


def plain(tenant: Tenant, kind: str, key: str, sequence: int, data: dict[str, Any]) -> Any:
    topic = CONTACT_EVENTS if kind.startswith("contact") else AGENT_EVENTS
    return record(topic, key, kind, tenant.id, sequence, data)


async def until_written(pod: Pod, event: Any) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                await pod.write_feed([event])
            except RedisAwayError:
                await asyncio.sleep(0.05)
            else:
                return


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()
