import asyncio
from collections.abc import Sequence

import pytest

from shared.contracts.errors import PermanentError, TransientError
from shared.contracts.records import InRecord
from shared.contracts.topics import INBOUND
from shared.kafka.failure import BEHIND, FailurePolicy, Rejected
from shared.kafka.parking import release
from shared.kafka.publisher import Publisher
from shared.kafka.settings import KafkaSettings
from shared.testing.parking import InMemoryParkingLot, parked_record
from tests.integration.kafka.kafka_rig import (
    Seen,
    committed,
    consuming,
    end_offsets,
    read_all,
    record,
    until,
)

pytestmark = pytest.mark.integration


async def refuse_bad(records: Sequence[InRecord]) -> None:
    if any(each.value == b"bad" for each in records):
        raise PermanentError("cannot_read")


async def test_records_of_a_key_arrive_in_order_and_are_committed(
    settings: KafkaSettings, publisher: Publisher
) -> None:
    seen = Seen()
    async with consuming(settings, publisher, seen) as runtime:
        await publisher.publish([record(f"k{i % 7}", b"%d" % i) for i in range(200)])
        await until(lambda: len(seen.values) == 200)
        for key in {each.key for each in seen.records}:
            numbers = [int(each.value or b"") for each in seen.records if each.key == key]
            assert numbers == sorted(numbers)
        assert runtime.live() == []
        assert runtime.ready() == []
    assert await committed(settings) == 200


async def test_a_group_goes_on_where_it_was(settings: KafkaSettings, publisher: Publisher) -> None:
    first, second = Seen(), Seen()
    await publisher.publish([record("a", b"1")])
    async with consuming(settings, publisher, first):
        await until(lambda: first.values == [b"1"])
    await publisher.publish([record("a", b"2")])
    async with consuming(settings, publisher, second):
        await until(lambda: second.values != [])
    assert second.values == [b"2"]


async def test_a_transient_error_holds_the_batch_and_dead_letters_nothing(
    settings: KafkaSettings, publisher: Publisher
) -> None:
    away = asyncio.Event()
    away.set()

    async def depend(_: Sequence[InRecord]) -> None:
        if away.is_set():
            raise TransientError("the database is away")

    seen = Seen(before=depend)
    async with consuming(settings, publisher, seen) as runtime:
        await publisher.publish([record("a", b"1"), record("a", b"2")])
        await until(lambda: seen.calls >= 4)
        assert await committed(settings) == 0
        assert runtime.live() == []
        away.clear()
        await until(lambda: seen.values == [b"1", b"2"])
    assert await end_offsets(settings, settings.dead_name(INBOUND)) == 0
    assert await committed(settings) == 2


async def test_a_stop_during_an_outage_is_quick_and_commits_nothing(
    settings: KafkaSettings, publisher: Publisher
) -> None:
    async def fail(_: Sequence[InRecord]) -> None:
        raise TransientError("away")

    seen = Seen(before=fail)
    async with consuming(settings, publisher, seen):
        await publisher.publish([record("a", b"1")])
        await until(lambda: seen.calls >= 3)
        started = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - started < 5
    assert await committed(settings) == 0


async def test_a_poison_record_parks_its_key_and_the_others_flow(
    settings: KafkaSettings, publisher: Publisher
) -> None:
    parking = InMemoryParkingLot()
    seen = Seen(before=refuse_bad)
    headers = (("h", b"\xff"), ("ce_id", b"7"))
    async with consuming(settings, publisher, seen, parking=parking) as runtime:
        await publisher.publish(
            [
                record("a", b"a1"),
                record("b", b"b1"),
                record("a", b"bad", *headers),
                record("a", b"a3"),
                record("b", b"b2"),
            ]
        )
        await until(lambda: {b"a1", b"b1", b"b2"} <= set(seen.values))
        await publisher.publish([record("a", b"a4"), record("b", b"b3")])
        await until(lambda: b"b3" in seen.values)
        lot = runtime.subscriptions[0].lot

        async def all_parked() -> bool:
            return len(await parking.oldest(lot, b"a", 10)) == 3

        await until(all_parked)
        assert [each.value for each in await parking.oldest(lot, b"a", 10)] == [
            b"bad",
            b"a3",
            b"a4",
        ]
        assert b"a3" not in seen.values
        [dead] = await read_all(settings, settings.dead_name(INBOUND), 1)
        found = dict(dead.headers)
        assert (dead.key, dead.value, found["h"], found["ce_id"]) == (b"a", b"bad", b"\xff", b"7")
        assert found["atrio_dead_reason"] == b"cannot_read"
        assert found["atrio_dead_kind"] == b"permanent"
        source = found["atrio_dead_source"].decode().split("/")
        assert source[0] == settings.topic_name(INBOUND)
        await until(lambda: asyncio.ensure_future(_is_committed(settings, 7)))

        repaired = Seen()
        released = await release(parking, lot, b"a", repaired)
        assert repaired.values == [b"bad", b"a3", b"a4"]
        assert (released.replayed, released.stopped) == (3, None)
        await publisher.publish([record("a", b"a5")])
        await until(lambda: b"a5" in seen.values)


async def _is_committed(settings: KafkaSettings, count: int) -> bool:
    return await committed(settings) == count


async def test_without_parking_the_poison_is_dead_lettered_and_its_key_goes_on(
    settings: KafkaSettings, publisher: Publisher
) -> None:
    seen = Seen(before=refuse_bad)
    async with consuming(settings, publisher, seen):
        await publisher.publish([record("a", b"1"), record("a", b"bad"), record("a", b"2")])
        await until(lambda: b"2" in seen.values)
    assert b"bad" not in seen.values
    assert await committed(settings) == 3
    assert len(await read_all(settings, settings.dead_name(INBOUND), 1)) == 1


async def test_a_bug_is_dead_lettered_as_one(settings: KafkaSettings, publisher: Publisher) -> None:
    async def stumble(records: Sequence[InRecord]) -> None:
        for each in records:
            if each.value == b"bad":
                raise ZeroDivisionError

    seen = Seen(before=stumble)
    async with consuming(settings, publisher, seen):
        await publisher.publish([record("a", b"bad")])
        [dead] = await read_all(settings, settings.dead_name(INBOUND), 1)
    found = dict(dead.headers)
    assert found["atrio_dead_kind"] == b"bug"
    assert found["atrio_dead_reason"] == b"ZeroDivisionError"


async def test_what_the_handler_rejects_is_parked_and_the_rest_is_done(
    settings: KafkaSettings, publisher: Publisher
) -> None:
    async def reject(records: Sequence[InRecord]) -> list[Rejected]:
        bad = {each.key for each in records if each.value == b"bad"}
        out, poisoned = [], set()
        for each in records:
            if each.value == b"bad":
                out.append(Rejected(each, "no_good", stage="fold"))
                poisoned.add(each.key)
            elif each.key in poisoned & bad:
                out.append(Rejected(each, BEHIND))
        return out

    parking = InMemoryParkingLot()
    seen = Seen(before=reject)
    await publisher.publish(
        [record("a", b"bad"), record("a", b"a2"), record("b", b"b1"), record(None, b"bad")]
    )
    async with consuming(settings, publisher, seen, parking=parking) as runtime:
        await until(lambda: seen.values == [b"b1"])
        lot = runtime.subscriptions[0].lot
        dead = await read_all(settings, settings.dead_name(INBOUND), 2)
        assert {dict(each.headers)["atrio_dead_stage"] for each in dead} == {b"fold"}
        parked = await parking.oldest(lot, b"a", 10)
        assert [each.value for each in parked] == [b"bad", b"a2"]
        await until(lambda: asyncio.ensure_future(_is_committed(settings, 4)))


async def test_a_lot_that_holds_nothing_is_asked_for_no_keys(
    settings: KafkaSettings, publisher: Publisher
) -> None:
    parking = InMemoryParkingLot()
    seen = Seen()
    await publisher.publish([record(f"k{i}", b"v") for i in range(100)])
    async with consuming(settings, publisher, seen, parking=parking):
        await until(lambda: len(seen.values) == 100)
    assert parking.questions == 0


async def test_with_a_key_parked_each_batch_asks_for_its_own_once(
    settings: KafkaSettings, publisher: Publisher
) -> None:
    parking = InMemoryParkingLot()
    seen = Seen()
    lot = f"{settings.topic_prefix}g:{settings.topic_name(INBOUND)}"
    await parking.park(lot, [parked_record(b"other", 1)], reason="bad")
    await publisher.publish([record(f"k{i}", b"v") for i in range(100)])
    async with consuming(settings, publisher, seen, parking=parking) as runtime:
        assert runtime.subscriptions[0].lot == lot
        await until(lambda: len(seen.values) == 100)
    assert parking.questions == seen.calls


async def test_an_absent_parking_lot_holds_the_batch(
    settings: KafkaSettings, publisher: Publisher
) -> None:
    parking = InMemoryParkingLot()
    parking.away = True
    seen = Seen()
    await publisher.publish([record("a", b"1")])
    async with consuming(settings, publisher, seen, parking=parking) as runtime:
        metric = runtime.metrics.batch_retries.labels(settings.topic_name(INBOUND))
        await until(lambda: metric._value.get() >= 2)
        assert seen.calls == 0
        parking.away = False
        await until(lambda: seen.values == [b"1"])


async def test_too_many_rejections_stop_the_consumer_and_keep_the_records(
    settings: KafkaSettings, publisher: Publisher
) -> None:
    async def fail(_: Sequence[InRecord]) -> None:
        raise PermanentError("bad_deploy")

    seen = Seen(before=fail)
    policy = FailurePolicy(max_consecutive=5)
    async with consuming(settings, publisher, seen, policy=policy) as runtime:
        await publisher.publish([record(f"k{i}", b"v") for i in range(50)])
        await until(runtime.halted.is_set)
        assert runtime.live() != []
        assert await end_offsets(settings, settings.dead_name(INBOUND)) == 5
    assert await committed(settings) == 0


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(record("a", None), id="tombstone"),
        pytest.param(record("a", b"not json", ("x", b"\xff\xfe")), id="header value not utf-8"),
        pytest.param(record("a", b"v"), id="no headers"),
        pytest.param(record(None, b"v"), id="no key"),
        pytest.param(record("a", b""), id="empty value"),
    ],
)
async def test_odd_records_reach_the_handler_as_they_are(
    settings: KafkaSettings, publisher: Publisher, odd: object
) -> None:
    seen = Seen()
    async with consuming(settings, publisher, seen):
        await publisher.publish([odd, record("z", b"after")])  # type: ignore[list-item]
        await until(lambda: len(seen.values) == 2)
    [found] = [each for each in seen.records if each.key != b"z"]
    assert (found.key, found.value, list(found.headers)) == (odd.key, odd.value, odd.headers)  # type: ignore[attr-defined]


async def test_a_rebalance_waits_for_the_batch_in_hand(
    settings: KafkaSettings, publisher: Publisher
) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: Sequence[InRecord]) -> None:
        inside.set()
        await go_on.wait()

    first, second = Seen(before=slow), Seen()
    await publisher.publish([record(f"k{i}", b"%d" % i) for i in range(30)])
    async with consuming(settings, publisher, first):
        await inside.wait()
        async with consuming(settings, publisher, second) as other:
            generation = asyncio.get_running_loop().call_later(1, go_on.set)
            await until(lambda: other.ready() == [])
            generation.cancel()
            await publisher.publish([record(f"k{i}", b"x%d" % i) for i in range(30)])
            await until(lambda: len(first.values) + len(second.values) >= 60)
    # Nothing twice: the batch was committed before its partitions went.
    assert len(first.values) + len(second.values) == 60
    assert second.values


async def test_a_rebalance_during_an_outage_abandons_the_batch_and_loses_nothing(
    settings: KafkaSettings, publisher: Publisher
) -> None:
    away = asyncio.Event()
    away.set()

    async def depend(_: Sequence[InRecord]) -> None:
        if away.is_set():
            raise TransientError("away")

    first, second = Seen(before=depend), Seen(before=depend)
    await publisher.publish([record(f"k{i}", b"%d" % i) for i in range(30)])
    async with consuming(settings, publisher, first):
        await until(lambda: first.calls >= 2)
        async with consuming(settings, publisher, second) as other:
            await until(lambda: other.ready() == [])
            away.clear()
            await until(lambda: len(set(first.values + second.values)) == 30)
    assert await committed(settings) == 30


async def test_a_consumer_whose_loop_ended_is_started_again(
    settings: KafkaSettings, publisher: Publisher
) -> None:
    seen = Seen()
    async with consuming(settings, publisher, seen) as runtime:
        await until(lambda: runtime.ready() == [])
        subscriber = runtime.subscriptions[0].subscriber
        assert subscriber is not None
        assert subscriber.consumer is not None
        # As a lost coordinator does: FastStream's loop returns silently.
        await subscriber.consumer.stop()
        await publisher.publish([record("a", b"1")])
        await until(lambda: seen.values == [b"1"])
