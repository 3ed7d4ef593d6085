from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from services.routing.handlers import to_agent_event, to_change
from services.routing.model import Availability, Presence
from shared.contracts.envelope import Envelope
from shared.contracts.errors import PermanentError
from shared.contracts.views import Status

TIME = "2026-06-01T12:00:00.000Z"
CONVERSATION = {
    "id": "c",
    "version": 4,
    "status": "on_hold",
    "episode": 2,
    "epoch": 3,
    "assignee": None,
    "team": {"id": "sales", "name": "Ventas"},
    "waiting_since": TIME,
    "later": "a member of a newer version",
}


def envelope(kind: str, sequence: int | None = 4) -> Envelope:
    return Envelope("c:4", kind, "/inbox", TIME, "acme", "c", sequence)


def payload(**over: Any) -> bytes:
    before = {"status": "open", "assignee": "ana", "team": "sales"}
    actor = {"kind": "agent", "id": "ana"}
    return orjson.dumps({"conversation": CONVERSATION, "before": before, "actor": actor} | over)


def test_change_is_the_state_after_the_event() -> None:
    change = to_change(envelope("conversation.updated"), payload())
    assert (change.tenant, change.id, change.version) == ("acme", "c", 4)
    assert (change.status, change.episode, change.epoch) == (Status.ON_HOLD, 2, 3)
    assert (change.assignee, change.team, change.previous) == (None, "sales", "ana")
    assert change.waiting_since is not None


@pytest.mark.parametrize(
    ("members", "held"),
    [
        pytest.param({"held_by_agent": True, "snoozed_until": None}, True, id="parked by hand"),
        pytest.param({"held_by_agent": False, "snoozed_until": TIME}, True, id="asleep"),
        pytest.param({"held_by_agent": True, "snoozed_until": TIME}, True, id="both"),
        pytest.param({"held_by_agent": False, "snoozed_until": None}, False, id="neither"),
        pytest.param({}, False, id="an event of before the members"),
    ],
)
@pytest.mark.parametrize("kind", ["message.received", "conversation.held", "conversation.updated"])
def test_held_is_what_the_conversation_says(kind: str, members: dict[str, Any], held: bool) -> None:
    assert to_change(envelope(kind), payload(conversation=CONVERSATION | members)).held is held


@pytest.mark.parametrize("value", [None, b"{}"], ids=["tombstone", "with a value"])
def test_deleted_is_closed_by_its_version(value: bytes | None) -> None:
    change = to_change(envelope("conversation.deleted"), value)
    assert (change.id, change.version, change.status) == ("c", 4, Status.CLOSED)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"not json", id="not JSON"),
        pytest.param(b"[]", id="another shape"),
        pytest.param(b"{}", id="without a conversation"),
        pytest.param(payload(conversation={"id": "c", "version": "x"}), id="bad version"),
    ],
)
def test_event_that_is_not_readable_is_permanent(value: bytes) -> None:
    with pytest.raises(PermanentError) as raised:
        to_change(envelope("conversation.updated"), value)
    assert raised.value.reason == "bad_payload"


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        pytest.param(
            "agent.presence",
            {"agent_id": "ana", "present": True, "at": TIME},
            (Presence, "ana", 4, True),
            id="presence",
        ),
        pytest.param(
            "agent.availability",
            {"agent_id": "ana", "available": False, "at": TIME},
            (Availability, "ana", 4, False),
            id="availability",
        ),
    ],
)
def test_agent_events(kind: str, value: dict[str, Any], expected: Sequence[Any]) -> None:
    event = to_agent_event(envelope(kind), orjson.dumps(value))
    assert type(event) is expected[0]
    match event:
        case Presence(agent_id=agent, sequence=number, present=state):
            assert (agent, number, state) == tuple(expected[1:])
        case Availability(agent_id=agent, version=number, available=state):
            assert (agent, number, state) == tuple(expected[1:])


def test_unknown_agent_event_is_of_no_interest() -> None:
    assert to_agent_event(envelope("agent.promoted"), b"{}") is None


@pytest.mark.parametrize(
    ("sequence", "value"),
    [
        pytest.param(None, b'{"agent_id":"a","present":true,"at":"%s"}', id="no sequence"),
        pytest.param(4, None, id="tombstone"),
        pytest.param(4, b"{}", id="without an agent"),
    ],
)
def test_agent_event_that_is_not_readable_is_permanent(
    sequence: int | None, value: bytes | None
) -> None:
    with pytest.raises(PermanentError):
        to_agent_event(envelope("agent.presence", sequence), value)
