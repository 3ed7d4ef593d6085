"""A process dies at every line, pods overlap, claims outlive their lease: the traces of the model.

What must hold: Meta gets each message at most once and in the chat's order, every message ends
with its event, what is ambiguous ends `unknown`, what Meta accepted is never shown as failed.
"""

import asyncio
from collections import Counter

import pytest

from services.delivery.model import FaultPoint
from shared.mongo.client import Database
from tests.integration.delivery.conftest import MakePod
from tests.integration.delivery.delivery_rig import GraphControl, Log, Pod, send, until

pytestmark = pytest.mark.integration

ENDS = {"send.accepted", "send.failed", "send.unknown"}


async def assert_held(graph: GraphControl, events: Log, messages: list[str]) -> None:
    accepted = await graph.accepted()
    posts = Counter(body["biz_opaque_callback_data"] for body in await graph.sends())
    assert all(count == 1 for count in Counter(accepted).values()), "accepted twice"
    assert all(count == 1 for count in posts.values()), "posted twice"
    assert accepted == [m for m in messages if m in accepted], "out of order"
    for message in messages:
        outcomes = events.outcomes(message)
        assert outcomes, f"{message} is lost"
        assert set(outcomes) <= ENDS
        if message in accepted:
            assert "send.failed" not in outcomes
        else:
            assert outcomes[-1] == "send.unknown"


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("point", list(FaultPoint))
async def test_crash_at_every_point_never_posts_twice_and_loses_nothing(
    make_pod: MakePod, graph: GraphControl, events: Log, point: FaultPoint, nth: int
):
    first = make_pod()
    first.faults.crash_at, first.faults.crash_after = point, nth
    await first.start()
    commands = [send("m1", 1), send("m2", 2)]
    for command in commands:
        if not first.crashed.is_set():
            await first.take_in(command)
    await first.crashed.wait()
    second = make_pod()
    await second.start()
    # The offset was not committed, or it was: both are possible at any of these points.
    await second.take_in(*commands)
    await until(lambda: events.outcomes("m1") and events.outcomes("m2"))
    second.advance(10)
    await assert_held(graph, events, ["m1", "m2"])
    ambiguous = point in {FaultPoint.CLAIM_AFTER, FaultPoint.POST_BEFORE, FaultPoint.POST_AFTER}
    if ambiguous or point is FaultPoint.SETTLE_BEFORE:
        assert events.outcomes(f"m{nth}") == ["send.unknown"]


async def test_crash_storm_ends_with_every_message_once(
    make_pod: MakePod, graph: GraphControl, events: Log
):
    messages = [f"m{n}" for n in range(1, 7)]
    commands = [send(message, n) for n, message in enumerate(messages)]
    for point in FaultPoint:
        pod = make_pod()
        pod.faults.crash_at, pod.faults.crash_after = point, 1
        await pod.start()
        await pod.take_in(*commands)
        crashed = asyncio.create_task(pod.crashed.wait())
        idle = asyncio.create_task(asyncio.sleep(3))
        await asyncio.wait({crashed, idle}, return_when=asyncio.FIRST_COMPLETED)
        for task in (crashed, idle):
            task.cancel()
        await pod.stop()
    last = make_pod()
    await last.start()
    await last.take_in(*commands)
    await until(lambda: all(events.outcomes(message) for message in messages), 15)
    await assert_held(graph, events, messages)


@pytest.fixture
async def two(make_pod: MakePod) -> tuple[Pod, Pod]:
    """A zombie and the present owner of the same partition."""
    zombie, owner = make_pod(), make_pod()
    await zombie.start()
    await owner.start(partitions=())
    return zombie, owner


async def test_trace_d1_two_pods_claim_and_only_one_posts(
    two: tuple[Pod, Pod], graph: GraphControl, events: Log
):
    zombie, owner = two
    zombie.faults.hold(FaultPoint.CLAIM_BEFORE)
    await zombie.take_in(send("m1", 1), send("m2", 2))
    await zombie.faults.reached[FaultPoint.CLAIM_BEFORE].wait()
    owner.assign(range(12))
    await until(lambda: events.outcomes("m2"))
    zombie.faults.release(FaultPoint.CLAIM_BEFORE)
    await until(lambda: not len(zombie.engine.schedule))
    await assert_held(graph, events, ["m1", "m2"])
    assert await graph.accepted() == ["m1", "m2"]


async def test_trace_d2_a_record_started_by_another_is_waited_for(
    two: tuple[Pod, Pod], graph: GraphControl, events: Log
):
    zombie, owner = two
    zombie.faults.hold(FaultPoint.POST_AFTER)
    await zombie.take_in(send("m1", 1), send("m2", 2))
    await zombie.faults.reached[FaultPoint.POST_AFTER].wait()
    owner.assign(range(12))
    await until(lambda: len(owner.engine.schedule) == 2)
    await asyncio.sleep(0.1)
    assert not events.records
    zombie.assign(())
    zombie.faults.release(FaultPoint.POST_AFTER)
    await until(lambda: events.outcomes("m2"))
    assert events.outcomes("m1")[0] == "send.accepted"
    assert "send.unknown" not in events.outcomes("m1")
    await assert_held(graph, events, ["m1", "m2"])


async def test_trace_d3_a_pod_that_comes_back_does_not_go_on_with_its_old_claim(
    make_pod: MakePod, graph: GraphControl, events: Log
):
    first = make_pod()
    first.faults.crash_at = FaultPoint.POST_BEFORE
    await first.start()
    await first.take_in(send("m1", 1), send("m2", 2))
    await first.crashed.wait()
    again = make_pod()
    await again.start()
    await until(lambda: events.outcomes("m2"))
    assert events.outcomes("m1") == ["send.unknown"]
    assert await graph.accepted() == ["m2"]


async def test_trace_d4_a_pause_longer_than_the_lease_ends_without_a_post(
    two: tuple[Pod, Pod], graph: GraphControl, events: Log
):
    zombie, owner = two
    zombie.faults.hold(FaultPoint.POST_BEFORE)
    await zombie.take_in(send("m1", 1), send("m2", 2))
    await zombie.faults.reached[FaultPoint.POST_BEFORE].wait()
    owner.assign(range(12))
    await until(lambda: events.outcomes("m2"))
    zombie.faults.release(FaultPoint.POST_BEFORE)
    await until(lambda: not len(zombie.engine.schedule))
    assert await graph.accepted() == ["m2"]
    assert len(await graph.sends()) == 1
    assert set(events.outcomes("m1")) == {"send.unknown"}


async def test_trace_d5_claims_are_journaled_by_the_majority(pod: Pod, database: Database):
    written = pod.engine.sends._sends.write_concern.document
    assert (written["w"], written["j"]) == ("majority", True)
    assert pod.engine.sends._sends.read_concern.level == "majority"


async def test_late_answer_settles_unknown_as_accepted(
    two: tuple[Pod, Pod], graph: GraphControl, events: Log
):
    zombie, owner = two
    zombie.faults.hold(FaultPoint.POST_AFTER)
    await zombie.take_in(send("m1", 1), send("m2", 2))
    await zombie.faults.reached[FaultPoint.POST_AFTER].wait()
    owner.assign(range(12))
    await until(lambda: events.outcomes("m2"))
    assert events.outcomes("m1") == ["send.unknown"]
    zombie.faults.release(FaultPoint.POST_AFTER)
    await until(lambda: events.outcomes("m1")[-1] == "send.accepted")
    ids = [e.id for e, data in events.events() if data["message_id"] == "m1"]
    assert list(dict.fromkeys(ids)) == ["m1:1:unknown", "m1:1:accepted"]


async def test_late_refusal_does_not_undo_unknown(
    two: tuple[Pod, Pod], graph: GraphControl, events: Log, database: Database
):
    zombie, owner = two
    await graph.fault(error=131026, times=1)
    zombie.faults.hold(FaultPoint.POST_AFTER)
    await zombie.take_in(send("m1", 1))
    await zombie.faults.reached[FaultPoint.POST_AFTER].wait()
    owner.assign(range(12))
    await until(lambda: events.outcomes("m1"))
    zombie.faults.release(FaultPoint.POST_AFTER)
    await until(lambda: not len(zombie.engine.schedule))
    record = await database["sends"].find_one({"message_id": "m1"})
    assert record is not None
    assert record["status"] == "unknown"
    assert set(events.outcomes("m1")) == {"send.unknown"}


async def test_partition_that_moves_takes_its_chats_along(
    make_pod: MakePod, graph: GraphControl, events: Log
):
    first, second = make_pod(delivery_rate=20), make_pod(delivery_rate=1000)
    await first.start(partitions=range(6))
    await second.start(partitions=range(6, 12))
    messages = [f"m{n}" for n in range(30)]
    await first.take_in(*(send(message, n) for n, message in enumerate(messages)))
    await until(lambda: len(events.records) >= 3)
    first.assign(range(1, 6))
    second.assign([0, *range(6, 12)])
    await until(lambda: all(events.outcomes(message) for message in messages), 15)
    await assert_held(graph, events, messages)
    assert await graph.accepted() == messages
