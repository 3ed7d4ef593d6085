"""Ends aiokafka's clients in bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger()

_GIVE_UP_SECONDS = 1.0


async def bounded(what: str, closing: Coroutine[Any, Any, object], seconds: float) -> bool:
    """Await the end of a client for so long, then give it up; whether it ended well.

    In a task of its own: with the broker away aiokafka's `stop` waits for requests that nobody
    answers, swallows cancellations, and lets those of its own tasks out as if they were ours.
    """
    task = asyncio.create_task(closing, name=f"end of {what}")
    await asyncio.wait({task}, timeout=seconds)
    if not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=_GIVE_UP_SECONDS)
    if not task.done() or task.cancelled():
        log.warning("client.close_gave_up", client=what)
        return False
    error = task.exception()
    if error is not None:
        log.warning("client.close_failed", client=what, error=type(error).__name__)
    return error is None
