from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from services.routing.model import Change, Presence, Waiting
from shared.contracts.views import Status

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


_HELD = Change(
    tenant="acme",
    id="c1",
    version=1,
    status=Status.ON_HOLD,
    episode=1,
    epoch=1,
    assignee=None,
    team=None,
    waiting_since=NOW,
)


def on_hold(id_: str = "c1", version: int = 1, epoch: int = 1, **over: Any) -> Change:
    return replace(_HELD, id=id_, version=version, epoch=epoch, **over)


def opened(
    id_: str = "c1", version: int = 2, epoch: int = 2, *, by: str = "ana", **over: Any
) -> Change:
    changed = {"status": Status.OPEN, "assignee": by, "waiting_since": None, **over}
    return replace(_HELD, id=id_, version=version, epoch=epoch, **changed)


def closed(id_: str = "c1", version: int = 3, epoch: int = 3, **over: Any) -> Change:
    changed = {"status": Status.CLOSED, "waiting_since": None, **over}
    return replace(_HELD, id=id_, version=version, epoch=epoch, **changed)


def wait(id_: str = "c1", epoch: int = 1, episode: int = 1) -> Waiting:
    return Waiting(id_, episode, epoch, None, NOW)


def presence(sequence: int, present: bool, seconds: float = 0, agent: str = "ana") -> Presence:
    return Presence("acme", agent, sequence, present, at(seconds))
