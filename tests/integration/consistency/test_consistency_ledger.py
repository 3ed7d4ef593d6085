"""The ledger's counters after crashes and repeats, compared with the topic by the check itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime

import pytest

from services.inbox.model.tally import Outcome
from services.inbox.storage.entries import CONVERSATIONS, MESSAGES
from services.inbox.storage.tallies import TALLIES, TallyStore
from services.inbox.workflows.reckoning import LedgerCheck
from shared.contracts.records import InRecord, OutRecord
from shared.contracts.topics import INBOUND
from shared.kafka.scan import scan
from tests.support.pods import Pod, World

pytestmark = pytest.mark.integration
GROUP = "g"
POINTS = ("looked_up", "committed", "written", "published", "counting", "counted")
"""Before the commit, up to behind the counters: there only the offset's commit is missing."""


class Ledger:
    """The inbound topic of a world, with only its tenant's records."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.topic = world.settings.topic_name(INBOUND)
        self._seen = 0

    async def came(self, *records: InRecord) -> list[InRecord]:
        """Puts records on the topic, and reads them from there."""
        await self.world.publisher.publish(
            [OutRecord(INBOUND, b"key", each.value, list(each.headers)) for each in records]
        )
        found = await self._records()
        fresh, self._seen = found[self._seen :], len(found)
        return fresh

    async def _records(self) -> list[InRecord]:
        tenant = self.world.tenant.encode()
        return [
            each
            async for each in scan(self.world.settings, self.topic)
            if dict(each.headers)["ce_tenantid"] == tenant
        ]

    async def differences(self) -> set[tuple[str, int | str]]:
        """What differs, and where: the offset, else the day."""
        check = LedgerCheck(
            self.world.settings,
            self.world.database,
            self.world.ids,
            topic=self.topic,
            group=GROUP,
        )
        records = await self._records()
        reckoned = await check.run(date(2020, 1, 1), {0: records[-1].offset + 1})
        return {
            (each.what, int(place) if (place := each.where.split("/")[-1]).isdigit() else place)
            for each in reckoned.differences
            if self.world.tenant in each.where or each.where.startswith(self.topic)
        }

    async def counted(self) -> tuple[int, Counter[Outcome]]:
        store = TallyStore(self.world.database)
        today = datetime.now(UTC).date()
        days = await store.days(self.world.tenant, date(2020, 1, 1), today)
        return sum(day.received for day in days), sum((d.outcomes for d in days), Counter())


def round_of(world: World, name: str) -> list[InRecord]:
    """Seven records; the second customer is blocked."""
    return [
        world.message(f"{name}1"),
        world.message(f"{name}1"),
        world.echo(f"{name}2"),
        world.status(f"{name}2", "delivered"),
        world.message(f"{name}3", 2),
        world.status(f"{name}-nobody's", "sent"),
        world.change(),
    ]


async def blocked(world: World, pod: Pod, records: Sequence[InRecord]) -> None:
    """The second customer writes once, and is blocked."""
    await pod.account(*records)
    await world.database[CONVERSATIONS].update_one(
        {"_id": world.conversation(2)}, {"$set": {"contact.blocked": True}}
    )


async def test_repeats_after_crashes_count_each_record_once(world: World):
    """At each point one pod dies and one goes on as a zombie; the rest comes in other batches."""
    ledger, other = Ledger(world), world.pod()
    await blocked(world, other, await ledger.came(world.message("first", 2)))
    for number, point in enumerate(POINTS):
        for dies in (True, False):
            records = await ledger.came(*round_of(world, f"m{number}{'d' if dies else 'z'}"))
            pod = world.pod()
            await pod.account(*records[:2])
            stop = pod.script.hold(point)
            doing = pod.account(*records[2:5])
            await stop.reached()
            # The offset of what was handled last is not committed either.
            await other.account(*records[1:4])
            if dies:
                await pod.crash()
            await other.account(*records[4:])
            if not dies:
                stop.release()
                await doing
    rounds = 2 * len(POINTS)
    assert await ledger.counted() == (
        1 + 7 * rounds,
        Counter(
            {
                Outcome.MESSAGE: 1 + 2 * rounds,
                Outcome.DUPLICATE: rounds,
                Outcome.BLOCKED: rounds,
                Outcome.FACT: 2 * rounds,
                Outcome.CHANGE: rounds,
            }
        ),
    )
    assert await ledger.differences() == set()


async def test_what_could_not_be_kept_and_comes_again_counts_once(world: World):
    """The partition went away while MongoDB was, and came back to the same process."""
    ledger, pod = Ledger(world), world.pod()
    records = await ledger.came(*(world.message(f"m{number}") for number in range(4)))
    accounting = pod.inbox.accounting
    await pod.inbox.intake.handle(records[:3])
    accounting.set_aside(records[1], parked=True)
    accounting.settled(records[:3])
    stop = pod.script.hold("counting")
    keeping = asyncio.create_task(accounting.keep())
    await stop.reached()
    keeping.cancel()
    await asyncio.wait([keeping])
    await pod.account(*records[1:])
    assert await ledger.counted() == (4, Counter({Outcome.MESSAGE: 4}))
    assert await ledger.differences() == set()


async def test_what_is_lost_miscounted_or_never_counted_is_found(world: World):
    """The check can fail: each harm is told by the offset, or by what was counted."""
    ledger, pod = Ledger(world), world.pod()
    records = await ledger.came(*round_of(world, "m"), world.message("last"))
    await pod.account(*records[:7])
    left_out = records[7].offset
    assert await ledger.differences() == {("not_counted", left_out)}
    await pod.account(records[7])
    assert await ledger.differences() == set()

    await world.database[MESSAGES].delete_one({"_id": world.message_id("m1")})
    await world.database["changes"].delete_many({})
    await world.database["pending_facts"].delete_many({})
    first = records[0].offset
    assert await ledger.differences() == {
        ("lost", first),
        ("lost", first + 1),  # its duplicate
        ("lost", first + 5),
        ("lost", first + 6),
        ("message", 0),
        ("duplicate", 0),
        ("fact", 0),
        ("change", 0),
    }


async def test_what_is_counted_wrongly_is_found(world: World):
    ledger, pod = Ledger(world), world.pod()
    await pod.account(*await ledger.came(*round_of(world, "m")))
    await world.database[TALLIES].update_one({}, {"$inc": {"parts.0.received": 1}})
    assert await ledger.differences() == {("unbalanced", 0), ("received", 0)}
    await world.database[TALLIES].update_one({}, {"$inc": {"parts.0.outcomes.message": 1}})
    assert await ledger.differences() == {("received", 0), ("message", 0)}


async def test_what_was_parked_and_released_counts_as_what_it_became(world: World):
    """Also when it is released before it was counted; and a parked record that is gone is lost."""
    ledger, pod = Ledger(world), world.pod()
    records = await ledger.came(*(world.message(f"m{number}") for number in range(4)))
    accounting, parking = pod.inbox.accounting, pod.inbox.parking
    lot = f"{GROUP}:{ledger.topic}"

    async def park(*which: InRecord) -> None:
        await parking.park(lot, which, reason="bad")
        for each in which:
            accounting.set_aside(each, parked=True)
        accounting.settled(which)

    async def release(record: InRecord) -> None:
        await pod.inbox.intake.handle([record])
        await accounting.released(record)
        await parking.remove(lot, [record])

    await park(*records[:2])
    await release(records[0])
    await accounting.keep()
    await park(*records[2:])
    await accounting.keep()
    assert await ledger.counted() == (4, Counter({Outcome.MESSAGE: 1, Outcome.PARKED: 3}))
    assert await ledger.differences() == set()

    await release(records[1])
    # Its offset was not committed: a pod that knows nothing takes it again, and as parked.
    again = world.pod().inbox.accounting
    again.set_aside(records[0], parked=True)
    again.settled(records[:1])
    await again.keep()
    assert await ledger.counted() == (4, Counter({Outcome.MESSAGE: 2, Outcome.PARKED: 2}))
    assert await ledger.differences() == set()

    await parking.drop(lot, b"key", [records[2]], by="somebody")
    assert await ledger.differences() == set()
    await parking.remove(lot, [records[3]])
    assert await ledger.differences() == {("lost", records[3].offset), ("parked", 0)}
