# ruff: noqa: S101 - the contract suite asserts
"""The in-memory parking lot and the contract suite that every parking lot passes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from shared.contracts.errors import TransientError
from shared.contracts.records import InRecord
from shared.kafka.parking import ParkingLot, Released, ReleaseRequest

_Place = tuple[str, int, int]


class InMemoryParkingLot:
    """A `shared.kafka.parking.ParkingLot` for tests; `away = True` makes it fail as an outage."""

    def __init__(self) -> None:
        self._lots: dict[str, dict[_Place, InRecord]] = {}
        self.reasons: dict[_Place, str] = {}
        self.questions = 0
        self.answers: dict[str, Released] = {}
        self._asked: list[ReleaseRequest] = []
        self.away = False

    async def parked(self, lot: str, keys: Collection[bytes]) -> set[bytes]:
        """Which of the keys are parked."""
        self._reach()
        self.questions += 1
        held = {record.key for record in self._lots.get(lot, {}).values()}
        return {key for key in keys if key in held}

    async def park(self, lot: str, records: Sequence[InRecord], *, reason: str) -> None:
        """Add records, once each."""
        self._reach()
        for record in records:
            if record.key is None:
                raise ValueError("a record without a key cannot be parked")
            self._lots.setdefault(lot, {}).setdefault(_place(record), record)
            self.reasons.setdefault(_place(record), reason)

    async def oldest(self, lot: str, key: bytes, limit: int) -> Sequence[InRecord]:
        """The first records of a key."""
        self._reach()
        mine = [record for record in self._lots.get(lot, {}).values() if record.key == key]
        return sorted(mine, key=_place)[:limit]

    async def remove(self, lot: str, records: Sequence[InRecord]) -> None:
        """Forget records."""
        self._reach()
        for record in records:
            self._lots.get(lot, {}).pop(_place(record), None)

    async def keys(self, lot: str, limit: int = 1000) -> Sequence[bytes]:
        """Keys that are parked."""
        self._reach()
        held = {record.key for record in self._lots.get(lot, {}).values()}
        return sorted(key for key in held if key is not None)[:limit]

    async def ask(self, lot: str, key: bytes, *, by: str) -> str:
        """Ask for a key's release."""
        self._reach()
        request = ReleaseRequest(str(len(self.answers) + len(self._asked)), lot, key, by)
        self._asked.append(request)
        return request.id

    async def asked(self, lot: str) -> Sequence[ReleaseRequest]:
        """Requests without an answer."""
        self._reach()
        return [request for request in self._asked if request.lot == lot]

    async def answer(self, request: ReleaseRequest, released: Released) -> None:
        """Note what a release did."""
        self._reach()
        self._asked.remove(request)
        self.answers[request.id] = released

    def _reach(self) -> None:
        if self.away:
            raise TransientError("the parking lot is away")


def _place(record: InRecord) -> _Place:
    return (record.topic, record.partition, record.offset)


def parked_record(
    key: bytes | None, offset: int, *, partition: int = 0, value: bytes | None = b"{}"
) -> InRecord:
    """A record as a consumer reads it, with an odd header."""
    return InRecord("t", partition, offset, key, value, (("h", b"\xff"),), 1_000 + offset)


class ParkingLotContract:
    """Subclass it in a test and give a `parking` fixture: an empty lot of the implementation."""

    async def test_a_key_is_parked_while_it_has_a_record(self, parking: ParkingLot) -> None:
        """Parked by its first record, free after its last."""
        first, second = parked_record(b"a", 1), parked_record(b"a", 2)
        await parking.park("l", [first, second], reason="bad")
        assert await parking.parked("l", [b"a", b"b"]) == {b"a"}
        await parking.remove("l", [first])
        assert await parking.parked("l", {b"a"}) == {b"a"}
        await parking.remove("l", [second])
        assert await parking.parked("l", {b"a"}) == set()

    async def test_records_come_back_in_order_and_whole(self, parking: ParkingLot) -> None:
        """By offset, bytes, tombstones and headers as they were."""
        records = [
            parked_record(b"a", 10, value=None),
            parked_record(b"a", 2, value=b"\x00\xff"),
            parked_record(b"b", 3),
            parked_record(b"a", 9),
        ]
        await parking.park("l", records, reason="bad")
        back = await parking.oldest("l", b"a", 10)
        assert list(back) == [records[1], records[3], records[0]]
        assert len(await parking.oldest("l", b"a", 2)) == 2

    async def test_parking_twice_keeps_one(self, parking: ParkingLot) -> None:
        """A redelivered record is the same record."""
        record = parked_record(b"a", 1)
        await parking.park("l", [record], reason="bad")
        await parking.park("l", [record, parked_record(b"a", 2)], reason="behind")
        assert [each.offset for each in await parking.oldest("l", b"a", 10)] == [1, 2]

    async def test_lots_are_apart(self, parking: ParkingLot) -> None:
        """One group's poison does not stop another group."""
        await parking.park("l", [parked_record(b"a", 1)], reason="bad")
        assert await parking.parked("m", [b"a"]) == set()
        assert list(await parking.oldest("m", b"a", 10)) == []

    async def test_operators_see_the_keys(self, parking: ParkingLot) -> None:
        """Each once."""
        await parking.park(
            "l",
            [parked_record(b"a", 1), parked_record(b"a", 2), parked_record(b"\xff", 3)],
            reason="bad",
        )
        assert set(await parking.keys("l")) == {b"a", b"\xff"}

    async def test_removing_what_is_absent_is_no_error(self, parking: ParkingLot) -> None:
        """A release may be repeated."""
        await parking.remove("l", [parked_record(b"a", 1)])

    async def test_asking_for_no_keys_gives_none(self, parking: ParkingLot) -> None:
        """Records may all be without a key."""
        assert await parking.parked("l", []) == set()

    async def test_a_request_waits_for_its_answer(self, parking: ParkingLot) -> None:
        """Once, in its own lot."""
        await parking.ask("l", b"\xff", by="ana")
        (request,) = await parking.asked("l")
        assert (request.lot, request.key, request.by) == ("l", b"\xff", "ana")
        assert not await parking.asked("m")
        await parking.answer(request, Released(2, stopped="bad"))
        assert not await parking.asked("l")
