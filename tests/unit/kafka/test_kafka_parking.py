from collections.abc import Sequence
from datetime import timedelta

import pytest

from shared.contracts.errors import PermanentError, TransientError
from shared.contracts.records import InRecord
from shared.kafka.failure import Rejected
from shared.kafka.parking import release
from shared.testing.parking import InMemoryParkingLot, ParkingLotContract, parked_record

NO_SETTLE = timedelta(0)


class TestInMemoryParkingLot(ParkingLotContract):
    @pytest.fixture
    def parking(self) -> InMemoryParkingLot:
        return InMemoryParkingLot()


@pytest.fixture
async def lot() -> InMemoryParkingLot:
    made = InMemoryParkingLot()
    await made.park("l", [parked_record(b"a", n) for n in range(1, 4)], reason="bad")
    return made


async def test_release_replays_in_order_and_unparks(lot: InMemoryParkingLot) -> None:
    replayed: list[int] = []

    async def handle(records: Sequence[InRecord]) -> None:
        replayed.extend(each.offset for each in records)

    released = await release(lot, "l", b"a", handle, settle=NO_SETTLE)
    assert (released.replayed, released.stopped) == (3, None)
    assert replayed == [1, 2, 3]
    assert await lot.parked("l", [b"a"]) == set()


async def test_release_takes_what_arrives_meanwhile(lot: InMemoryParkingLot) -> None:
    replayed: list[int] = []

    async def handle(records: Sequence[InRecord]) -> None:
        if len(replayed) == 2:
            await lot.park("l", [parked_record(b"a", 4)], reason="behind_parked")
        replayed.extend(each.offset for each in records)

    await release(lot, "l", b"a", handle, settle=NO_SETTLE)
    assert replayed == [1, 2, 3, 4]


async def test_release_stops_at_a_record_that_fails_again(lot: InMemoryParkingLot) -> None:
    async def handle(records: Sequence[InRecord]) -> None:
        if records[0].offset == 2:
            raise PermanentError("still_bad")

    released = await release(lot, "l", b"a", handle, settle=NO_SETTLE)
    assert (released.replayed, released.stopped) == (1, "PermanentError")
    assert [each.offset for each in await lot.oldest("l", b"a", 9)] == [2, 3]


async def test_release_stops_at_a_record_that_is_rejected_again(lot: InMemoryParkingLot) -> None:
    async def handle(records: Sequence[InRecord]) -> list[Rejected]:
        return [Rejected(records[0], "still_bad")]

    released = await release(lot, "l", b"a", handle, settle=NO_SETTLE)
    assert (released.replayed, released.stopped) == (0, "still_bad")


async def test_release_during_an_outage_can_be_repeated(lot: InMemoryParkingLot) -> None:
    calls = 0

    async def handle(_: Sequence[InRecord]) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise TransientError("away")

    with pytest.raises(TransientError):
        await release(lot, "l", b"a", handle, settle=NO_SETTLE)
    released = await release(lot, "l", b"a", handle, settle=NO_SETTLE)
    assert released.replayed == 2
