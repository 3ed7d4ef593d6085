from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from services.delivery.decisions.schedule import Caps, Schedule
from services.delivery.model import MediaFile, Recipient, SendRecord, SendStatus

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def record(
    name: str,
    seq: int,
    *,
    chat: str = "c",
    number: str = "n",
    tenant: str = "t",
    partition: int = 0,
) -> SendRecord:
    return SendRecord(
        id=name,
        tenant=tenant,
        number_id=number,
        conversation_id=chat,
        message_id=name,
        partition=partition,
        seq=seq,
        base=0,
        status=SendStatus.QUEUED,
        attempt=0,
        recipient=Recipient(wa_id=chat),
        type="text",
        body=b"{}",
        queued_at=NOW,
        stored_at=NOW,
    )


def schedule(
    *records: SendRecord, caps: Caps | None = None, rate: float = 100_000, known: bool = True
) -> Schedule:
    made = Schedule(full_rate=rate, caps=caps)
    for each in records:
        made.offer(each, 0)
        made.set_number(each.tenant, each.number_id, 0, known=known)
    return made


def names(records: list[SendRecord]) -> list[str]:
    return [each.id for each in records]


def test_a_chat_gives_its_first_and_then_waits_for_it():
    plan = schedule(record("b", 2), record("a", 1), record("c", 3))
    assert names(plan.take(0, 10)) == ["a"]
    assert names(plan.take(0, 10)) == []
    plan.remove("a", 0)
    assert names(plan.take(0, 10)) == ["b"]


def test_a_known_record_is_not_taken_on_twice():
    plan = schedule(record("a", 1))
    assert not plan.offer(record("a", 1), 0)
    assert len(plan) == 1


def test_a_retry_holds_its_chat_until_due_and_no_other():
    plan = schedule(record("a", 1), record("b", 2), record("x", 1, chat="other"))
    assert set(names(plan.take(0, 10))) == {"a", "x"}
    plan.replace(replace(record("a", 1), attempt=1), 0, due=5.0)
    plan.remove("x", 0)
    assert plan.take(1, 10) == []
    assert plan.next_due() == 5.0
    assert names(plan.take(5, 10)) == ["a"]


def test_a_resend_of_an_earlier_message_goes_before_what_waits():
    plan = schedule(record("later", 5), record("last", 6))
    assert names(plan.take(0, 1)) == ["later"]
    plan.offer(record("resend", 1), 0)
    plan.remove("later", 0)
    assert names(plan.take(0, 9)) == ["resend"]
    plan.remove("resend", 0)
    assert names(plan.take(0, 9)) == ["last"]


def test_a_record_of_somebody_else_blocks_its_chat_only():
    plan = schedule(record("a", 1), record("b", 2), record("x", 1, chat="other"))
    plan.block("a")
    assert names(plan.take(0, 9)) == ["x"]
    plan.remove("a", 0)
    assert names(plan.take(0, 9)) == ["b"]


def test_a_stopped_number_does_not_touch_another():
    plan = schedule(record("a", 1), record("x", 1, chat="o", number="n2"))
    plan.set_number("t", "n", 0, stopped=True)
    assert names(plan.take(0, 9)) == ["x"]
    plan.set_number("t", "n", 0, stopped=False)
    assert names(plan.take(0, 9)) == ["a"]


def test_a_number_without_credentials_waits():
    plan = schedule(record("a", 1), known=False)
    assert plan.take(0, 9) == []
    plan.set_number("t", "n", 0, known=True)
    assert names(plan.take(0, 9)) == ["a"]


def test_a_held_number_goes_on_by_itself():
    plan = schedule(record("a", 1))
    plan.hold_number("t", "n", 60.0, 0)
    assert plan.take(0, 9) == []
    assert plan.next_due() == 60.0
    assert names(plan.take(60, 9)) == ["a"]


def test_a_suspended_tenant_waits():
    plan = schedule(record("a", 1), record("x", 1, chat="o", number="m", tenant="u"))
    plan.set_suspended("t", 0, suspended=True)
    assert names(plan.take(0, 9)) == ["x"]
    plan.set_suspended("t", 0, suspended=False)
    assert names(plan.take(0, 9)) == ["a"]


def test_the_rate_of_a_number_is_kept_and_the_rest_goes_later():
    plan = schedule(*(record(f"r{n}", 1, chat=f"c{n}") for n in range(100)), rate=80)
    assert len(plan.take(0, 500)) == 8
    assert plan.take(0, 500) == []
    due = plan.next_due()
    assert due is not None
    assert 0 < due <= 1 / 80 + 1e-6
    total = 8
    for step in range(1, 101):
        total += len(plan.take(step / 100, 500))
    assert 85 <= total <= 90


def test_a_noisy_tenant_does_not_delay_a_quiet_one():
    noisy = [record(f"n{i}", 1, chat=f"n{i}", tenant="noisy") for i in range(50_000)]
    plan = schedule(*noisy)
    plan.take(0, 100)
    plan.offer(record("quiet", 1, chat="q", tenant="quiet", number="q"), 0)
    plan.set_number("quiet", "q", 0, known=True)
    assert "quiet" in names(plan.take(0, 16))


def test_a_noisy_tenant_at_its_limits_costs_a_quiet_one_nothing():
    noisy = [record(f"n{i}", i % 10, chat=f"n{i // 10}", tenant="noisy") for i in range(1000)]
    plan = schedule(*noisy, rate=80)
    plan.take(0, 500)
    plan.offer(record("quiet", 1, chat="q", tenant="quiet", number="q"), 0)
    plan.set_number("quiet", "q", 0, known=True)
    assert names(plan.take(0, 1)) == ["quiet"]


def test_tenants_share_evenly_whatever_they_have():
    many = [record(f"a{i}", 1, chat=f"a{i}", tenant="a", number="a") for i in range(1000)]
    few = [record(f"b{i}", 1, chat=f"b{i}", tenant="b", number="b") for i in range(100)]
    counted = Counter(each.tenant for each in schedule(*many, *few).take(0, 160))
    assert counted == {"a": 80, "b": 80}


def test_files_cost_more_turns():
    file = MediaFile("ab", "image/jpeg", 1)
    files = [
        replace(record(f"a{i}", 1, chat=f"a{i}", tenant="a", number="a"), media=file)
        for i in range(200)
    ]
    texts = [record(f"b{i}", 1, chat=f"b{i}", tenant="b", number="b") for i in range(200)]
    counted = Counter(each.tenant for each in schedule(*files, *texts).take(0, 100))
    assert counted == {"a": 20, "b": 80}


def test_caps_leave_room_for_others():
    caps = Caps(total=100, tenant=50, number=20)
    noisy = [record(f"a{i}", 1, chat=f"a{i}", number=f"n{i % 4}") for i in range(400)]
    plan = schedule(*noisy, caps=caps)
    first = plan.take(0, 500)
    assert len(first) == 50
    assert max(Counter(each.number_id for each in first).values()) <= 20
    plan.remove(first[0].id, 0)
    assert len(plan.take(0, 500)) == 1


def test_dropped_partitions_are_forgotten_and_land_quietly():
    plan = schedule(record("a", 1), record("x", 1, chat="o", partition=3))
    plan.take(0, 9)
    plan.drop([0])
    assert len(plan) == 1
    plan.replace(record("a", 1), 0)
    assert plan.under_way == 1
    assert "a" not in plan
    assert plan.offer(record("a", 1), 0)
    assert names(plan.take(0, 9)) == ["a"]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_happens_each_chat_is_in_order_and_nothing_is_lost(data: st.DataObject):
    plan = Schedule(full_rate=1000, caps=Caps(total=6, tenant=4, number=3))
    expected: dict[str, list[str]] = defaultdict(list)
    done: dict[str, list[str]] = defaultdict(list)
    under_way: dict[str, SendRecord] = {}
    now = 0.0
    for number in ("n0", "n1", "n2"):
        plan.set_number(f"t{int(number[1]) % 2}", number, 0, known=True)
    for step in range(data.draw(st.integers(5, 60))):
        now += data.draw(st.sampled_from([0.0, 0.01, 3.0]))
        match data.draw(st.sampled_from(["offer", "take", "done", "later", "stop"])):
            case "offer":
                n = data.draw(st.integers(0, 2))
                chat = f"c{n}{data.draw(st.integers(0, 2))}"
                new = record(f"r{step}", step, chat=chat, number=f"n{n}", tenant=f"t{n % 2}")
                plan.offer(new, now)
                expected[chat].append(new.id)
            case "take":
                for each in plan.take(now, 5):
                    chats = {other.conversation_id for other in under_way.values()}
                    assert each.conversation_id not in chats
                    under_way[each.id] = each
                assert plan.under_way == len(under_way) <= 6
            case "done" if under_way:
                each = under_way.pop(data.draw(st.sampled_from(sorted(under_way))))
                done[each.conversation_id].append(each.id)
                plan.remove(each.id, now)
            case "later" if under_way:
                each = under_way.pop(data.draw(st.sampled_from(sorted(under_way))))
                plan.replace(each, now, now + data.draw(st.sampled_from([0.0, 2.0])))
            case "stop":
                stopped = data.draw(st.booleans())
                plan.set_number("t0", "n0", now, stopped=stopped)
            case _:
                pass
    plan.set_number("t0", "n0", now, stopped=False)
    for each in under_way.values():
        done[each.conversation_id].append(each.id)
        plan.remove(each.id, now)
    for _ in range(2000):
        now += 0.5
        for each in plan.take(now, 5):
            done[each.conversation_id].append(each.id)
            plan.remove(each.id, now)
        if not len(plan):
            break
    assert done == {chat: order for chat, order in expected.items() if order}
