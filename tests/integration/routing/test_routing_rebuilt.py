"""What routing followed, with its reservations over, is what it would build from inbox's list."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from services.routing.gateways import listed
from services.routing.storage.tenant import TenantStore
from shared.contracts.views import Status
from tests.integration.routing.world import World, Worlds

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("seed", range(60))
async def test_followed_is_rebuilt(
    world: Worlds, stores: Callable[[str], TenantStore], seed: int
) -> None:
    w, dice = world({"ana": 1, "luis": 2}), Random(seed)
    await w.agents_come("ana", "luis")
    for _ in range(40):
        _something_happens(w, dice)
        await w.follow()
        if dice.random() < 0.5:
            await w.decide()
        if dice.random() < 0.5:
            w.deliver()
    w.deliver()
    await w.follow()
    w.after(60)
    await w.store.snapshot((), w.now)
    rebuilt = stores("rebuilt")
    await rebuilt.apply([listed(each) for each in w.inbox.listed()])
    assert await _indexes(w.store) == await _indexes(rebuilt)


def _something_happens(w: World, dice: Random) -> None:
    inbox, id_ = w.inbox, f"c{dice.randrange(4)}"
    chat = inbox.chats.get(id_)
    if chat is None or chat.status is Status.CLOSED:
        inbox.customer_writes(id_, dice.choice((None, "sales")))
        return
    acts = [
        lambda: inbox.customer_writes(id_),
        lambda: inbox.phone_answers(id_),
        lambda: inbox.snooze(id_),
        lambda: inbox.wake(id_),
        lambda: inbox.close(id_),
        lambda: inbox.transfer(id_, "sales"),
        lambda: w.after(dice.choice((1, 40))),
    ]
    if chat.status is Status.ON_HOLD:
        acts.append(lambda: inbox.accept(id_, "ana"))
    else:
        acts += [lambda: inbox.hold(id_)] * 3
    dice.choice(acts)()


async def _indexes(store: TenantStore) -> dict[str, Any]:
    """Who stands in which queue, is held, fills whose slots."""
    raw, (base,) = store._redis.raw, store._keys
    ordered = {key: await raw.zrange(f"{base}{key}", 0, -1) for key in ("q:-", "q:sales", "held")}
    slots = {agent: await raw.smembers(f"{base}a:{agent}") for agent in ("ana", "luis")}
    return {**ordered, **slots}
