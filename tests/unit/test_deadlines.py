from __future__ import annotations

import asyncio

import pytest

from shared.deadlines import TICK_SECONDS, Deadlines


async def test_what_is_done_in_time_is_left_alone() -> None:
    deadlines = Deadlines()

    async def work() -> str:
        with deadlines.within(TICK_SECONDS):
            await asyncio.sleep(0)
        await asyncio.sleep(3 * TICK_SECONDS)
        return "done"

    assert list(await asyncio.gather(work(), work())) == ["done", "done"]


async def test_only_what_takes_too_long_ends_with_a_timeout() -> None:
    deadlines = Deadlines()
    patient = asyncio.Event()

    async def work(seconds: float) -> None:
        with deadlines.within(seconds):
            await patient.wait()

    waiting = asyncio.create_task(work(60))
    with pytest.raises(TimeoutError):
        await work(0)
    assert not waiting.done()
    patient.set()
    await waiting


async def test_a_cancellation_from_outside_is_no_timeout() -> None:
    deadlines = Deadlines()

    async def work() -> None:
        with deadlines.within(60):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_that_comes_with_the_timeout_stays_one() -> None:
    deadlines = Deadlines()

    async def work() -> None:
        with deadlines.within(0) as limit:
            asyncio.get_running_loop().call_soon(limit.expire)
            asyncio.get_running_loop().call_soon(task.cancel)
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_inside_passes() -> None:
    with pytest.raises(KeyError), Deadlines().within(60):
        raise KeyError("inside")


async def test_a_task_may_wait_again_after_its_timeout() -> None:
    deadlines = Deadlines()
    for _ in range(2):
        with pytest.raises(TimeoutError), deadlines.within(0):
            await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
