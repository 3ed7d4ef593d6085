from collections.abc import Sequence

import pytest

from shared.contracts.errors import PermanentError, TransientError
from shared.contracts.records import InRecord
from shared.kafka.publisher import Publisher
from shared.kafka.settings import KafkaSettings
from shared.testing.parking import InMemoryParkingLot
from tests.integration.kafka.kafka_rig import Seen, committed, consuming, record, until

pytestmark = pytest.mark.integration


class Accounts:
    """Remembers what it was told; `keep` fails while `away`."""

    def __init__(self) -> None:
        self.away = False
        self.asked = 0
        self.set_asides: list[tuple[bytes | None, bool]] = []
        self.waiting: list[bytes | None] = []
        self.kept: list[bytes | None] = []
        self.replayed: list[bytes | None] = []

    def set_aside(self, record: InRecord, *, parked: bool) -> None:
        self.set_asides.append((record.value, parked))

    def settled(self, records: Sequence[InRecord]) -> None:
        self.waiting += [each.value for each in records]

    async def keep(self) -> None:
        self.asked += 1
        if self.away:
            raise TransientError("the accounts are away")
        self.kept += self.waiting
        self.waiting = []

    async def released(self, record: InRecord) -> None:
        self.replayed.append(record.value)


async def refuse_bad(records: Sequence[InRecord]) -> None:
    if any((each.value or b"").startswith(b"bad") for each in records):
        raise PermanentError("cannot_read")


async def test_offsets_are_committed_only_behind_their_accounts(
    settings: KafkaSettings, publisher: Publisher
) -> None:
    accounts = Accounts()
    accounts.away = True
    await publisher.publish([record("a", b"1"), record("a", b"2"), record("b", b"3")])
    async with consuming(settings, publisher, Seen(), accounts=accounts) as runtime:
        await until(lambda: accounts.asked >= 2 and len(accounts.waiting) == 3)
        assert await committed(settings) == 0
        assert runtime.live() == []
        accounts.away = False

        async def is_committed() -> bool:
            return await committed(settings) == 3

        await until(is_committed)
        assert sorted(accounts.kept, key=str) == [b"1", b"2", b"3"]
        await publisher.publish([record("a", b"4")])
        await until(lambda: b"4" in accounts.waiting + accounts.kept)
    # Whoever leaves keeps and commits what is done.
    assert (accounts.waiting, await committed(settings)) == ([], 4)


async def test_accounts_are_told_of_every_record_however_it_ended(
    settings: KafkaSettings, publisher: Publisher
) -> None:
    accounts, parking = Accounts(), InMemoryParkingLot()
    seen = Seen(before=refuse_bad)
    await publisher.publish(
        [record("a", b"bad 1"), record("a", b"2"), record(None, b"bad 3"), record("b", b"4")]
    )
    async with consuming(settings, publisher, seen, parking=parking, accounts=accounts) as runtime:
        await until(lambda: len(accounts.kept) == 4)
        expected = [(b"2", True), (b"bad 1", True), (b"bad 3", False)]
        assert sorted(accounts.set_asides) == expected
        seen.before = None
        subscription = runtime.subscriptions[0]
        request = await parking.ask(subscription.lot, b"a", by="somebody")
        assert request
        await until(lambda: accounts.replayed == [b"bad 1", b"2"])
