"""Who keeps messages findable shares a process with who takes them in."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import cast

from services.inbox.storage.searching import Findable, SearchStore
from services.inbox.workflows.searching import Indexing
from shared.contracts.envelope import Envelope
from shared.contracts.events import EventType
from shared.contracts.records import InRecord


class _Store:
    async def put(self, findables: Collection[Findable]) -> None:
        assert not findables


def record(offset: int) -> InRecord:
    made = Envelope(f"c:{offset}", EventType.CONVERSATION_READ.value, "inbox", "", "t").headers()
    return InRecord("topic", 0, offset, b"c", b"{}", tuple(made), 0)


async def test_a_large_batch_lets_others_have_a_turn_now_and_then():
    turns = 0
    over = False

    async def other() -> None:
        nonlocal turns
        while not over:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    await Indexing(cast("SearchStore", _Store()), lambda _: True).handle(
        [record(offset) for offset in range(500)]
    )
    over = True
    await beside

    assert turns >= 500 // 20
