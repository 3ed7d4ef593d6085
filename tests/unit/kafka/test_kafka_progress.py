from datetime import timedelta

import pytest

from shared.kafka.progress import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def progress(clock: Clock) -> Progress:
    made = Progress(timedelta(seconds=60), clock)
    made.started()
    return made


def test_a_loop_that_turns_is_alive(progress: Progress, clock: Clock) -> None:
    for _ in range(100):
        clock.now += 5
        progress.polled()
        assert progress.stalled() is None


def test_a_loop_that_stands_still_is_reported(progress: Progress, clock: Clock) -> None:
    clock.now += 61
    assert progress.stalled() == "poll loop stands still"


def test_waiting_for_a_dependency_is_alive(progress: Progress, clock: Clock) -> None:
    for _ in range(1000):
        clock.now += 1
        progress.held()
    assert progress.stalled() is None
    assert not progress.idle_with_lag()


def test_a_start_takes_as_long_as_kafka_needs(progress: Progress, clock: Clock) -> None:
    progress.starting()
    clock.now += 3600
    assert progress.stalled() is None


def test_an_idle_consumer_without_lag_is_fine(progress: Progress, clock: Clock) -> None:
    for _ in range(200):
        clock.now += 1
        progress.polled()
        if progress.wants_ends():
            progress.looked(behind=False)
        assert not progress.idle_with_lag()


def test_idle_with_lag_restarts_in_place_and_is_then_reported(
    progress: Progress, clock: Clock
) -> None:
    for _ in range(2):
        assert progress.stalled() is None
        for _ in range(40):
            clock.now += 1
            progress.polled()
            if progress.wants_ends():
                progress.looked(behind=True)
            if progress.idle_with_lag():
                break
        assert progress.idle_with_lag()
        progress.restarting()
        progress.starting()
        progress.started()
    assert progress.stalled() == "idle with lag after restarts"


def test_moving_on_after_a_restart_is_well_again(progress: Progress) -> None:
    progress.restarting()
    progress.moved()
    progress.restarting()
    assert progress.stalled() is None


def test_an_unreachable_kafka_is_no_stall(progress: Progress, clock: Clock) -> None:
    for _ in range(500):
        clock.now += 1
        progress.polled()
        if progress.wants_ends():
            progress.unreachable()
        assert not progress.idle_with_lag()
        assert progress.stalled() is None


def test_positions_that_change_are_progress(progress: Progress, clock: Clock) -> None:
    clock.now += 29
    progress.looked(behind=True)
    clock.now += 2
    progress.scanned({"p": 5})
    assert not progress.idle_with_lag()


def test_positions_are_scanned_once_a_second(progress: Progress, clock: Clock) -> None:
    clock.now += 1.1
    assert progress.polled()
    assert not progress.polled()
