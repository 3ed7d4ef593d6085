from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from services.routing.model import (
    Assign,
    Availability,
    Change,
    Explanation,
    Park,
    ParkReason,
    Queue,
    Refusal,
    Reservation,
    Rule,
    Waiting,
)
from services.routing.storage.installation import InstallationStore
from services.routing.storage.tenant import PRESENCE_FORGOTTEN, TenantStore
from tests.integration.routing.changes import NOW, at, closed, on_hold, opened, presence, wait

pytestmark = pytest.mark.integration

SPAN = timedelta(seconds=30)
DECISION = Assign("ana", Rule.LEAST_BUSY, Explanation("least_busy", "least_busy"))


async def reserve(
    store: TenantStore,
    conversation: Waiting,
    agent: str = "ana",
    *,
    capacity: int = 1,
    now: datetime = NOW,
) -> Reservation | Refusal:
    return await store.reserve(
        conversation, agent, capacity=capacity, payload=b"{}", now=now, expires=now + SPAN
    )


async def load(store: TenantStore, agent: str = "ana", now: datetime = NOW) -> int:
    return (await store.snapshot((agent,), now)).agents[agent].load


async def queue_of(store: TenantStore, now: datetime = NOW) -> list[str]:
    await store.snapshot((), now)
    return [head.waiting.id for head in await store.oldest(None, 100)]


async def test_queue_is_oldest_first_and_by_team(store: TenantStore) -> None:
    await store.apply(
        [
            on_hold("late", waiting_since=at(2)),
            on_hold("early", waiting_since=at(1)),
            on_hold("sales", team="sales", waiting_since=at(0)),
        ]
    )
    assert await queue_of(store) == ["early", "late"]
    assert [head.waiting.id for head in await store.oldest("sales", 9)] == ["sales"]
    snapshot = await store.snapshot((), NOW)
    assert sorted(snapshot.queues, key=lambda queue: queue.waiting) == [
        Queue("sales", 1, 1, None),
        Queue(None, 2, 2, None),
    ]


@pytest.mark.parametrize("version", [1, 2])
async def test_version_that_is_not_above_is_ignored(store: TenantStore, version: int) -> None:
    await store.apply([opened(version=2)])
    assert await store.apply([on_hold(version=version)]) == (0, 1, False)
    assert await queue_of(store) == []
    assert await load(store) == 1


async def test_guard_outlives_the_chat(store: TenantStore) -> None:
    await store.apply([opened(version=2), closed(version=3), on_hold(version=1)])
    assert await queue_of(store) == []
    assert await load(store) == 0


async def test_open_chats_fill_slots_once_whoever_gave_them(store: TenantStore) -> None:
    await store.apply([opened("c1"), opened("c2")])
    await store.apply([opened("c1"), opened("c1", version=5, epoch=2)])
    assert await load(store) == 2
    await store.apply([opened("c1", version=6, epoch=3, by="luis"), closed("c2")])
    assert (await load(store), await load(store, "luis")) == (0, 1)


async def test_reservation_takes_a_slot_and_the_place_in_the_queue(store: TenantStore) -> None:
    await store.apply([on_hold("c1"), on_hold("c2")])
    assert isinstance(await reserve(store, wait("c1")), Reservation)
    assert await load(store) == 1
    assert await queue_of(store) == ["c2"]
    assert await reserve(store, wait("c2")) is Refusal.FULL


async def test_reservation_is_idempotent_by_conversation(store: TenantStore) -> None:
    await store.apply([on_hold()])
    first = await reserve(store, wait(), capacity=5)
    assert await reserve(store, wait(), capacity=5) is Refusal.RESERVED
    assert await reserve(store, wait(), "luis", capacity=5) is Refusal.RESERVED
    assert (await load(store), await load(store, "luis")) == (1, 0)
    assert await store.unsent(at(1), 9) == [first]


@pytest.mark.parametrize(
    "stale",
    [
        pytest.param(wait(epoch=2), id="another epoch"),
        pytest.param(wait(episode=2), id="another episode"),
        pytest.param(wait("c9"), id="unknown"),
    ],
)
async def test_reservation_needs_the_very_wait(store: TenantStore, stale: Waiting) -> None:
    await store.apply([on_hold()])
    assert await reserve(store, stale) is Refusal.CHANGED
    assert await load(store) == 0


@pytest.mark.parametrize(
    ("event", "loads"),
    [
        pytest.param(opened(version=2, epoch=2, by="ana"), (1, 0), id="applied"),
        pytest.param(opened(version=2, epoch=2, by="luis"), (0, 1), id="accepted by hand"),
        pytest.param(closed(version=2, epoch=2), (0, 0), id="closed"),
        pytest.param(on_hold(version=2, epoch=2, team="t"), (0, 0), id="transferred to a team"),
    ],
)
async def test_reservation_ends_by_the_next_status_or_epoch(
    store: TenantStore, event: Change, loads: tuple[int, int]
) -> None:
    await store.apply([on_hold()])
    await reserve(store, wait())
    await store.apply([event])
    assert (await load(store), await load(store, "luis")) == loads
    snapshot = await store.snapshot((), NOW)
    assert (snapshot.reserved, snapshot.unsent) == (0, 0)


async def test_reservation_outlives_a_customers_message(store: TenantStore) -> None:
    await store.apply([on_hold()])
    await reserve(store, wait())
    await store.apply([on_hold(version=2, held=False)])
    assert await load(store) == 1
    assert await queue_of(store) == []


async def test_regression_reservation_ends_when_the_chat_is_put_aside(store: TenantStore) -> None:
    await store.apply([on_hold("c1"), on_hold("c2", waiting_since=at(1))])
    await reserve(store, wait("c1"))
    await store.apply([on_hold("c1", version=2, held=True)])
    assert await load(store) == 0
    assert await queue_of(store, NOW + SPAN) == ["c2"]
    snapshot = await store.snapshot((), NOW)
    assert (snapshot.reserved, snapshot.unsent, snapshot.held_unrecorded) == (0, 0, 1)


async def test_reservation_expires_and_the_place_in_the_queue_comes_back(
    store: TenantStore,
) -> None:
    await store.apply([on_hold("c1"), on_hold("c2", waiting_since=at(1))])
    await reserve(store, wait("c1"))
    assert await load(store, now=NOW + SPAN - timedelta(seconds=1)) == 1
    assert await load(store, now=NOW + SPAN) == 0
    assert await queue_of(store, NOW + SPAN) == ["c1", "c2"]
    again = await reserve(store, wait("c1"), now=NOW + SPAN)
    assert isinstance(again, Reservation)
    assert again.attempt == 2


async def test_record_is_repeated_until_it_is_on_the_topic(store: TenantStore) -> None:
    await store.apply([on_hold()])
    made = await reserve(store, wait())
    assert isinstance(made, Reservation)
    assert await store.unsent(at(-1), 9) == []
    assert await store.unsent(at(1), 9) == [made]
    await store.sent([replace(made, attempt=7)])
    assert await store.unsent(at(1), 9) == [made]
    await store.sent([made])
    assert await store.unsent(at(1), 9) == []


async def test_held_by_hand_waits_for_the_customer(store: TenantStore) -> None:
    await store.apply([on_hold(version=4, epoch=3, held=True)])
    await store.apply([on_hold(version=5, epoch=3, held=True)])
    assert await queue_of(store) == []
    assert [head.waiting.held for head in await store.held_unrecorded(9)] == [True]
    assert await reserve(store, wait(epoch=3)) is Refusal.CHANGED
    await store.apply([on_hold(version=6, epoch=3, held=False)])
    assert await queue_of(store) == ["c1"]
    assert await store.held_unrecorded(9) == []


async def test_held_by_hand_ends_with_another_epoch(store: TenantStore) -> None:
    await store.apply([on_hold(version=4, epoch=3, held=True)])
    await store.apply([on_hold(version=5, epoch=4, team="t")])
    assert [head.waiting.id for head in await store.oldest("t", 9)] == ["c1"]


async def test_last_agent_is_who_held_it_before(store: TenantStore) -> None:
    await store.apply([opened(), closed(), on_hold(version=4, epoch=4, episode=2)])
    await store.apply([on_hold("c2", version=9, previous="luis")])
    heads = await store.oldest(None, 9)
    assert {head.waiting.id: head.waiting.last_agent for head in heads} == {
        "c1": "ana",
        "c2": "luis",
    }


async def test_park_records_are_missing_until_written_and_after_another_reason(
    store: TenantStore,
) -> None:
    park = Park(ParkReason.AT_CAPACITY, Explanation("least_busy", "at_capacity"))
    await store.apply([on_hold()])
    await store.park_queue(None, park.reason)
    heads = await store.unrecorded(None, 9)
    assert [(head.waiting.id, head.parked) for head in heads] == [("c1", "")]
    await store.park_recorded(heads, park, None)
    assert await store.unrecorded(None, 9) == []
    await store.apply([on_hold(version=2)])
    await store.park_queue(None, park.reason)
    assert await store.unrecorded(None, 9) == []
    await store.park_queue(None, "manual")
    assert [head.parked for head in await store.unrecorded(None, 9)] == ["at_capacity"]


async def test_park_record_of_an_older_wait_is_not_taken_for_the_new_one(
    store: TenantStore,
) -> None:
    park = Park(ParkReason.MANUAL, Explanation("manual", "manual"))
    await store.apply([on_hold()])
    heads = await store.unrecorded(None, 9)
    await store.apply([opened(), on_hold(version=3, epoch=3)])
    await store.park_recorded(heads, park, None)
    assert [head.waiting.epoch for head in await store.unrecorded(None, 9)] == [3]


async def test_presence_drops_an_older_counter(store: TenantStore) -> None:
    await store.apply_presence([presence(5, present=True)], NOW)
    # A socket on another pod came before the old pod noticed that its own was gone.
    assert await store.apply_presence([presence(4, present=False)], NOW) == 0
    assert (await store.snapshot(("ana",), NOW)).agents["ana"].connected


async def test_presence_keeps_the_time_of_the_last_socket_over_repeats(store: TenantStore) -> None:
    await store.apply_presence([presence(1, present=True)], NOW)
    await store.apply_presence([presence(2, present=False, seconds=10)], at(10))
    await store.apply_presence([presence(2, present=False, seconds=70)], at(70))
    state = (await store.snapshot(("ana",), at(70))).agents["ana"]
    assert (state.connected, state.disconnected_at) == (False, at(10))


async def test_absence_whose_beginning_was_not_seen_has_no_grace(store: TenantStore) -> None:
    await store.apply_presence([presence(7, present=False)], NOW)
    gone = (await store.snapshot(("ana",), NOW)).agents["ana"].disconnected_at
    assert gone is not None
    assert gone.year == 1970


async def test_presence_that_is_not_repeated_is_unknown(store: TenantStore) -> None:
    await store.apply_presence([presence(5, present=True)], NOW)
    later = NOW + PRESENCE_FORGOTTEN
    state = (await store.snapshot(("ana",), later)).agents["ana"]
    assert (state.connected, state.disconnected_at) == (False, None)
    # The notifier lost its counters and began anew.
    await store.apply_presence([presence(1, present=True)], later)
    assert (await store.snapshot(("ana",), later)).agents["ana"].connected


async def test_availability_is_taken_by_the_agents_version(store: TenantStore) -> None:
    await store.apply_availability([Availability("acme", "ana", 5, available=False)])
    await store.apply_availability([Availability("acme", "ana", 4, available=True)])
    assert (await store.snapshot(("ana",), NOW)).agents["ana"].availability == (5, False)


async def test_nothing_is_reserved_until_built(stores: Callable[[str], TenantStore]) -> None:
    store = stores("new")
    await store.apply([on_hold(tenant="new")])
    assert not (await store.snapshot((), NOW)).built
    assert await reserve(store, wait()) is Refusal.UNBUILT
    generation = await store.begin_rebuild("t", stop=True)
    assert await reserve(store, wait()) is Refusal.UNBUILT
    await store.apply([on_hold(tenant="new", listed=True)])
    assert await store.finish_rebuild("t", generation) == 0
    assert isinstance(await reserve(store, wait()), Reservation)


async def test_rebuild_closes_what_is_neither_listed_nor_heard_of(store: TenantStore) -> None:
    await store.apply([on_hold("listed"), opened("gone"), opened("newer"), on_hold("lost")])
    generation = await store.begin_rebuild("t", stop=False)
    await store.apply([on_hold("listed", listed=True)])
    await store.apply([opened("newer", version=7)])
    assert await store.finish_rebuild("t", generation) == 2
    assert await queue_of(store) == ["listed"]
    assert await load(store) == 1
    # What came back meanwhile has a higher version.
    await store.apply([on_hold("gone", version=9, epoch=9)])
    assert await queue_of(store) == ["gone", "listed"]


async def test_rebuild_keeps_newer_events_and_live_reservations(store: TenantStore) -> None:
    await store.apply([on_hold("c1"), opened("c2", version=5, epoch=4)])
    await reserve(store, wait("c1"), capacity=5)
    generation = await store.begin_rebuild("t", stop=True)
    await store.apply([on_hold("c1", listed=True), on_hold("c2", version=4, listed=True)])
    assert await store.finish_rebuild("t", generation) == 0
    assert await load(store) == 2


async def test_rebuild_whose_start_was_lost_builds_nothing(store: TenantStore) -> None:
    generation = await store.begin_rebuild("first", stop=True)
    await store.begin_rebuild("second", stop=True)
    assert await store.finish_rebuild("first", generation) is None
    assert not (await store.snapshot((), NOW)).built


async def test_timer_turn_is_one_pods(store: TenantStore) -> None:
    call = store.snapshot_call((), NOW, timedelta(seconds=60))
    first = await store._redis.run(call.script, call.keys, *call.args)
    second = await store._redis.run(call.script, call.keys, *call.args)
    assert (first[0], second) == (b"1", [b"turn"])


async def test_tenant_that_waits_again_stays_with_the_timer(
    installation: InstallationStore,
) -> None:
    await installation.enlist(["acme"], "one")
    await installation.enlist(["acme"], "two")
    await installation.leave("acme", "one")
    assert await installation.enlisted() == {"acme": "two"}
    await installation.leave("acme", "two")
    assert await installation.enlisted() == {}


def test_tenants_share_nothing(stores: Callable[[str], TenantStore]) -> None:
    with pytest.raises(ValueError):
        stores("")
    with pytest.raises(ValueError):
        stores("a}b")
