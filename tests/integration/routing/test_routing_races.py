"""Traces of models/routing_model.py that concern routing's side, step by step on a real Redis."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest

from shared.contracts.directory import Policy
from shared.contracts.envelope import read_envelope
from shared.contracts.events import RoutingDecision
from shared.contracts.records import OutRecord
from shared.kafka.publisher import PublishError
from tests.integration.routing.inbox_model import START
from tests.integration.routing.world import Worlds

pytestmark = pytest.mark.integration


async def test_oldest_waiting_takes_the_freed_slot(world: Worlds) -> None:
    w = world({"ana": 1})
    await w.agents_come("ana")
    for chat in ("first", "second", "third"):
        w.inbox.customer_writes(chat)
    await w.follow()
    order = []
    for _ in range(3):
        await w.decide()
        w.deliver()
        order.append(w.inbox.applied[-1]["conversation_id"])
        w.inbox.close(order[-1])
        await w.follow()
    assert order == ["first", "second", "third"]


async def test_least_busy_spreads_and_stops_at_capacity(world: Worlds) -> None:
    w = world({"ana": 2, "luis": 2})
    await w.agents_come("ana", "luis")
    for number in range(6):
        w.inbox.customer_writes(f"c{number}")
    await w.route()
    assert [one["agent_id"] for one in w.topic.values("assign")] == ["ana", "luis"] * 2
    assert {one["reason"] for one in w.topic.values("park")} == {"at_capacity"}
    w.deliver()
    assert (w.inbox.load("ana"), w.inbox.load("luis")) == (2, 2)
    assert w.inbox.waiting() == ["c4", "c5"]


async def test_round_robin_goes_on_over_passes(world: Worlds) -> None:
    w = world({"ana": 9, "eva": 9, "luis": 9}, Policy(strategy="round_robin"))
    await w.agents_come("ana", "eva", "luis")
    order = []
    for number in range(5):
        w.inbox.customer_writes(f"c{number}")
        await w.follow()
        await w.decide()
        order += [one["agent_id"] for one in w.topic.values("assign")]
        w.deliver()
        w.inbox.close(f"c{number}")
        await w.follow()
    assert order == ["ana", "eva", "luis", "ana", "eva"]


async def test_sticky_returns_to_the_last_agent(world: Worlds) -> None:
    w = world({"ana": 9, "luis": 9}, Policy(strategy="least_busy", sticky=True))
    await w.agents_come("ana", "luis")
    w.inbox.customer_writes("c1")
    w.inbox.accept("c1", "luis")
    w.inbox.close("c1")
    w.inbox.customer_writes("c1")
    await w.route()
    assert [(one["agent_id"], one["reason"]) for one in w.topic.values("assign")] == [
        ("luis", "sticky")
    ]


async def test_team_chats_go_to_the_team_and_older_ones_first_over_teams(world: Worlds) -> None:
    w = world({"ana": 1, "luis": 1})
    w.teams = {"ana": frozenset({"sales"})}
    await w.agents_come("ana", "luis")
    w.inbox.customer_writes("sales", "sales")
    w.inbox.customer_writes("anybody")
    w.inbox.customer_writes("support", "support")
    await w.route()
    assigned = {one["conversation_id"]: one["agent_id"] for one in w.topic.values("assign")}
    assert assigned == {"sales": "ana", "anybody": "luis"}
    assert [(one["conversation_id"], one["reason"]) for one in w.topic.values("park")] == [
        ("support", "no_agents")
    ]


async def test_park_is_recorded_once_per_reason(world: Worlds) -> None:
    w = world({"ana": 1}, Policy())
    w.inbox.customer_writes("c1")
    await w.follow()
    for _ in range(3):
        await w.decide()
    w.inbox.customer_writes("c1")
    await w.route()
    w.policy = Policy(strategy="least_busy")
    await w.decide()
    await w.decide()
    parks = w.topic.values("park")
    assert [one["reason"] for one in parks] == ["manual", "nobody_available"]
    ids = [read_envelope(record.headers).id for record in w.topic.records]
    assert ids == ["c1:1:1:park:manual/1", "c1:1:1:park:nobody_available/2"]


async def test_park_records_are_one_pods_at_a_time(world: Worlds) -> None:
    w = world({"ana": 1}, Policy())
    w.inbox.customer_writes("c1")
    await w.follow()
    assert await w.store.lock_parking("another pod", timedelta(seconds=60))
    await w.decide()
    assert w.topic.records == []
    await w.store.unlock_parking("a third pod")
    await w.decide()
    assert w.topic.records == []
    await w.store.unlock_parking("another pod")
    await w.decide()
    assert len(w.topic.values("park")) == 1


async def test_park_record_that_was_not_sent_is_not_lost(world: Worlds) -> None:
    w = world({"ana": 1}, Policy())
    w.inbox.customer_writes("c1")
    await w.follow()
    w.topic.away = True
    with pytest.raises(PublishError):
        await w.decide()
    w.topic.away = False
    await w.decide()
    assert len(w.topic.values("park")) == 1


async def test_held_by_hand_is_left_until_the_customer_writes(world: Worlds) -> None:
    w = world({"ana": 5})
    await w.agents_come("ana")
    w.inbox.customer_writes("c1")
    w.inbox.accept("c1", "ana")
    w.inbox.hold("c1")
    await w.route()
    await w.decide()
    assert [(one["kind"], one["reason"]) for one in map(_value, w.topic.records)] == [
        ("park", "held_by_agent")
    ]
    w.inbox.customer_writes("c1")
    await w.route()
    w.deliver()
    assert w.inbox.load("ana") == 1


async def test_regression_chat_that_falls_asleep_while_it_is_given_away_stops_nobody(
    world: Worlds,
) -> None:
    w = world({"ana": 1})
    await w.agents_come("ana")
    w.inbox.customer_writes("c1")
    w.inbox.customer_writes("c2")
    await w.route()
    w.inbox.snooze("c1")
    w.deliver()
    assert (w.inbox.refused, w.inbox.load("ana")) == (["c1"], 0)
    await w.route()
    w.deliver()
    assert w.inbox.waiting() == ["c1"]
    w.inbox.close("c2")
    w.after(60)
    await w.route()
    w.deliver()
    assert (w.inbox.waiting(), w.inbox.refused) == (["c1"], ["c1"])
    w.inbox.wake("c1")
    await w.route()
    w.deliver()
    assert (w.inbox.waiting(), w.inbox.load("ana")) == ([], 1)


async def test_regression_parked_chat_stays_parked_when_the_owner_answers_from_the_phone(
    world: Worlds,
) -> None:
    w = world({"ana": 5})
    await w.agents_come("ana")
    w.inbox.customer_writes("c1")
    w.inbox.accept("c1", "ana")
    w.inbox.hold("c1")
    w.inbox.phone_answers("c1")
    w.inbox.snooze("c1")
    w.inbox.wake("c1")
    await w.route()
    assert w.topic.values("assign") == []


async def test_records_fit_the_contract_and_repeat_byte_for_byte(world: Worlds) -> None:
    w = world({"ana": 1})
    await w.agents_come("ana")
    w.inbox.customer_writes("c1")
    w.inbox.customer_writes("c2")
    await w.follow()
    w.topic.away = True
    with pytest.raises(PublishError):
        await w.decide()
    w.topic.away = False
    w.after(5)
    await w.decide()
    first = w.topic.records[0]
    payload = RoutingDecision.model_validate_json(first.value or b"")
    assert payload.decided_at == START
    envelope = read_envelope(first.headers)
    assert (envelope.id, envelope.type) == ("c1:1:1:assign:ana/1", "routing.assign")
    assert (envelope.tenant, envelope.subject, first.key) == ("acme", "c1", b"c1")
    for record in w.topic.records:
        RoutingDecision.model_validate_json(record.value or b"")


async def test_trace_without_the_timer(world: Worlds) -> None:
    # Lua reserves c1->ana; CRASH before the produce; nobody decides again: c1 waits for ever.
    # The timer repeats the reservation's own record.
    w = world({"ana": 1})
    await w.agents_come("ana")
    w.inbox.customer_writes("c1")
    await w.follow()
    w.topic.away = True
    with pytest.raises(PublishError):
        await w.decide()
    w.topic.away = False
    w.deliver()
    assert w.inbox.waiting() == ["c1"]
    w.after(3)
    await w.decide()
    w.deliver()
    assert (w.inbox.waiting(), w.inbox.load("ana")) == ([], 1)
    await w.route()
    assert w.topic.records == []


async def test_trace_projection_without_version_guard(world: Worlds) -> None:
    # A zombie applies c1's first event after the live consumer saw it assigned: without the guard
    # the slot is free again and the next chat goes over capacity.
    w = world({"ana": 1})
    await w.agents_come("ana")
    w.inbox.customer_writes("c1")
    await w.route()
    w.deliver()
    await w.follow()
    await w.follow(w.inbox.events[:1])
    w.inbox.customer_writes("c2")
    await w.route()
    assert w.topic.values("assign") == []
    assert (await w.store.snapshot(("ana",), w.now)).agents["ana"].load == 1


@pytest.mark.parametrize("counted", [True, False], ids=["inbox counts", "without the count"])
async def test_trace_reservation_expires_by_time(world: Worlds, counted: bool) -> None:
    # c1->ana is reserved, its decision is late; the reservation expires; c0, which has waited for
    # longer but was parked by hand, is to be routed again and takes ana; then the late decision
    # arrives. Only inbox's count keeps ana at her capacity.
    w = world({"ana": 1})
    w.inbox.counted = counted
    await w.agents_come("ana")
    w.inbox.customer_writes("c0")
    w.inbox.accept("c0", "ana")
    w.inbox.hold("c0")
    w.inbox.customer_writes("c1")
    await w.route()
    late = w.topic.values("assign")
    w.topic.records = []
    w.after(31)
    w.inbox.customer_writes("c0")
    await w.route()
    w.deliver()
    for record in late:
        w.inbox.decided(record)
    assert [one["conversation_id"] for one in late] == ["c1"]
    assert w.inbox.load("ana") == (1 if counted else 2)


async def test_trace_refused_decision_is_made_again(world: Worlds) -> None:
    # ana accepts c2 by hand while c1->ana is on its way: inbox refuses, the reservation stays
    # until it expires, and c1 is decided again when she is free.
    w = world({"ana": 1})
    await w.agents_come("ana")
    w.inbox.customer_writes("c1")
    await w.route()
    w.inbox.customer_writes("c2")
    w.inbox.accept("c2", "ana")
    w.deliver()
    assert w.inbox.refused == ["c1"]
    await w.follow()
    w.inbox.close("c2")
    await w.follow()
    w.after(31)
    await w.agents_come("ana")
    await w.decide()
    w.deliver()
    assert w.inbox.waiting() == []


async def test_trace_agent_lost_while_reserved_keeps_the_slot(world: Worlds) -> None:
    # Released at once, the decision that is on its way would be one chat too many.
    w = world({"ana": 1, "luis": 1}, Policy(strategy="least_busy", presence_grace_seconds=0))
    await w.agents_come("ana", "luis")
    w.inbox.customer_writes("c1")
    await w.route()
    await w.agent_goes("ana")
    w.after(1)
    await w.decide()
    assert [one["agent_id"] for one in w.topic.values("assign")] == ["ana"]
    w.deliver()
    assert w.inbox.refused == []


async def test_trace_redis_lost_while_a_decision_is_on_its_way(world: Worlds) -> None:
    # Rebuilt from the truth alone, routing does not know of c1->ana and gives her slot to c0;
    # inbox takes one of the two.
    w = world({"ana": 1})
    await w.agents_come("ana")
    w.inbox.customer_writes("c1")
    await w.route()
    w.inbox.customer_writes("c2")
    await w.store._redis.raw.flushdb()
    generation = await w.store.begin_rebuild("t", stop=True)
    await w.route()
    assert len(w.topic.values("assign")) == 1, "nothing is decided until rebuilt"
    await w.follow(w.inbox.events)
    await w.store.finish_rebuild("t", generation)
    await w.agents_come("ana")
    w.after(1)
    await w.decide()
    w.deliver()
    assert w.inbox.load("ana") == 1
    await w.follow()
    w.inbox.close(w.inbox.applied[0]["conversation_id"])
    await w.follow()
    w.after(31)
    await w.agents_come("ana")
    await w.decide()
    w.deliver()
    assert w.inbox.waiting() == []


def _value(record: OutRecord) -> dict[str, Any]:
    value: dict[str, Any] = orjson.loads(record.value or b"")
    return value
