"""The same on many conversations: each is a call of its own, with its own outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from services.inbox.decisions.lifecycle import Viewer
from services.inbox.model.conversation import Conversation
from services.inbox.model.errors import RefusedError
from services.inbox.workflows.changing import Call
from shared.contracts.errors import TransientError

_AT_ONCE = 8
Act = Callable[[Call], Awaitable[Conversation | None]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one: the conversation after it, or why not. A deleted one has neither."""

    id: str
    conversation: Conversation | None = None
    refused: RefusedError | None = None


async def on_each(
    viewer: Viewer, ids: Sequence[str], epochs: Mapping[str, int], key: str | None, act: Act
) -> list[Outcome]:
    """Acts on each conversation, eight at a time, in no order; one's failure stops no other.

    With a key each call has it, so that the whole can be asked for again.
    """
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(conversation_id: str) -> Outcome:
        async with turns:
            try:
                found = await act(Call(viewer, conversation_id, epochs.get(conversation_id), key))
            except RefusedError as refused:
                return Outcome(conversation_id, refused=refused)
            except TransientError:
                return Outcome(conversation_id, refused=RefusedError("unavailable"))
        return Outcome(conversation_id, found)

    return list(await asyncio.gather(*map(one, dict.fromkeys(ids))))
