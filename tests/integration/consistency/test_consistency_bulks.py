"""A commit of very many heads is two bulks; what is certain of one says nothing of the other."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest
from typing_extensions import override

from shared.contracts.errors import TransientError
from shared.mongo.headlog import Change, Entry, HeadLog
from tests.support.pods import World

HEADS = [f"head-{place:03d}" for place in range(120)]


class _NoPublisher:
    async def publish_runs(self, runs: Sequence[Any], **_: Any) -> list[bool]:
        return [True] * len(runs)


class _Fails(HeadLog):
    """The bulk that has the first head is not answered."""

    @override
    async def _commit(self, changes: Sequence[Change], now: datetime) -> frozenset[str]:
        if any(change.id == HEADS[0] for change in changes):
            raise TransientError("no answer")
        return await super()._commit(changes, now)


def log(world: World, kind: type[HeadLog] = HeadLog) -> HeadLog:
    return kind(world.database, "many_heads", _NoPublisher())


def changes(expected: int, *, stale: Sequence[str] = ()) -> list[Change]:
    return [
        Change(
            id=head,
            expected=expected + (head in stale),
            state={},
            entries=(Entry(version=expected + (head in stale) + 1),),
        )
        for head in HEADS
    ]


async def versions(world: World) -> dict[str, int]:
    return {head.id: head.version for head in (await log(world).load(HEADS)).values()}


async def test_very_many_heads_are_created_and_changed_at_once(world: World):
    assert await log(world).commit(changes(0)) == set(HEADS)
    assert await log(world).commit(changes(0)) == set()
    assert await log(world).commit(changes(1)) == set(HEADS)
    assert set((await versions(world)).values()) == {2}


async def test_one_that_lost_makes_only_its_own_bulk_uncertain(world: World):
    await log(world).commit(changes(0))
    won = await log(world).commit(changes(1, stale=HEADS[:1]))
    assert won == set(HEADS[1::2])
    now = await versions(world)
    assert [head for head in HEADS if now[head] == 1] == HEADS[:1]


async def test_a_bulk_without_an_answer_is_told_once_the_other_is_done(world: World):
    await log(world).commit(changes(0))
    with pytest.raises(TransientError):
        await log(world, _Fails).commit(changes(1))
    now = await versions(world)
    assert [head for head in HEADS if now[head] == 2] == HEADS[1::2]
