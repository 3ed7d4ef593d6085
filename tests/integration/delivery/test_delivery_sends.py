import asyncio

import pytest

from services.delivery.model import FaultPoint, Stop
from shared.contracts.envelope import timestamp
from shared.contracts.events import SendOutcome
from shared.contracts.records import InRecord
from shared.kafka.failure import BEHIND
from shared.mongo.client import Database
from tests.integration.delivery.conftest import MakePod
from tests.integration.delivery.delivery_rig import (
    NUMBER,
    GraphControl,
    Log,
    Pod,
    credentials,
    in_record,
    send,
    until,
)

pytestmark = pytest.mark.integration


async def test_text_is_sent_once_and_told_as_accepted(
    pod: Pod, graph: GraphControl, events: Log, database: Database
):
    await pod.take_in(send("m1", 1))
    await until(lambda: events.outcomes("m1"))
    (body,) = await graph.sends()
    assert body == {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": body["to"],
        "type": "text",
        "text": {"body": "text of m1"},
        "biz_opaque_callback_data": "m1",
    }
    assert body["to"].startswith("+1202555")
    ((envelope, data),) = events.events()
    outcome = SendOutcome.model_validate(data)
    assert (envelope.id, envelope.type) == ("m1:1:accepted", "send.accepted")
    assert (envelope.tenant, envelope.subject, events.records[0].key) == (
        "acme",
        "chat-1",
        b"chat-1",
    )
    assert outcome.wamid is not None
    assert outcome.attempt == 1

    async def cleared() -> bool:
        record = await database["sends"].find_one({"message_id": "m1"})
        return record is not None and "event" not in record and "body" not in record

    for _ in range(200):
        if await cleared():
            break
        await asyncio.sleep(0.01)
    assert await cleared()


async def test_same_command_twice_is_sent_once(pod: Pod, graph: GraphControl, events: Log):
    first = send("m1", 1)
    await pod.take_in(first, first)
    await pod.take_in(first)
    await pod.take_in(send("m2", 2))
    await until(lambda: events.outcomes("m2"))
    assert [body["biz_opaque_callback_data"] for body in await graph.sends()] == ["m1", "m2"]


async def test_a_resend_is_another_record(pod: Pod, graph: GraphControl, events: Log):
    await graph.fault(drop="after_accept", times=1)
    await pod.take_in(send("m1", 1))
    await until(lambda: events.outcomes("m1") == ["send.unknown"])
    await pod.take_in(send("m1", 1, attempt_base=1))
    await until(lambda: events.outcomes("m1") == ["send.unknown", "send.accepted"])
    assert [data["attempt"] for _, data in events.events()] == [1, 2]
    assert len(await graph.sends()) == 2


async def test_chat_keeps_its_order_and_others_do_not_wait(
    pod: Pod, graph: GraphControl, events: Log
):
    await graph.fault(delay_ms=300, match={"recipient": "12025550600"}, times=1)
    slow = [
        send(f"slow{n}", n, chat="slow", recipient={"wa_id": "12025550600"}) for n in range(1, 4)
    ]
    await pod.take_in(*slow, *(send(f"quick{n}", n, chat="quick") for n in range(1, 4)))
    await until(lambda: events.outcomes("slow3"))
    accepted = [data["message_id"] for _, data in events.events("send.accepted")]
    assert [m for m in accepted if m.startswith("slow")] == ["slow1", "slow2", "slow3"]
    assert accepted.index("quick3") < accepted.index("slow1")


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        pytest.param({"error": 131026}, "send.failed", id="graph refuses"),
        pytest.param({"error": 131047}, "send.failed", id="window closed"),
        pytest.param({"drop": "after_accept"}, "send.unknown", id="answer lost"),
        pytest.param({"drop": "before_accept"}, "send.unknown", id="hung up"),
        pytest.param({"http_status": 502}, "send.unknown", id="502 without Graph's body"),
        pytest.param({"http_status": 200}, "send.unknown", id="200 that is not JSON"),
        pytest.param({"delay_ms": 800}, "send.unknown", id="answer later than the limit"),
    ],
)
async def test_chat_goes_on_after_a_message_that_ended_badly(
    pod: Pod, graph: GraphControl, events: Log, fault: dict[str, object], outcome: str
):
    await graph.fault(**fault, times=1)
    await pod.take_in(send("m1", 1), send("m2", 2))
    await until(lambda: events.outcomes("m2"))
    assert events.outcomes("m1") == [outcome]
    assert events.outcomes("m2") == ["send.accepted"]
    assert len(await graph.sends()) == 2


async def test_retryable_error_is_tried_again_and_the_chat_waits(
    pod: Pod, graph: GraphControl, events: Log
):
    await graph.fault(error=131016, times=2, match={"recipient": "12025550600"})
    to = {"wa_id": "12025550600"}
    await pod.take_in(
        send("m1", 1, recipient=to), send("m2", 2, recipient=to), send("other", 1, chat="other")
    )
    await until(lambda: pod.engine.metrics.sends.labels("later")._value.get() >= 1)
    await until(lambda: events.outcomes("other"))
    assert not events.outcomes("m1")
    for _ in range(3):
        pod.advance(20)
        await asyncio.sleep(0.05)
    await until(lambda: events.outcomes("m2"))
    accepted = [m for m in await graph.accepted() if m != "other"]
    assert accepted == ["m1", "m2"]
    assert not events.outcomes("m1")[1:]


async def test_nothing_is_connected_is_a_safe_retry(
    make_pod: MakePod, graph: GraphControl, events: Log
):
    pod = make_pod(graph_url="http://127.0.0.1:1")
    await pod.start()
    await pod.take_in(send("m1", 1))

    def kept_for_later() -> bool:
        record = pod.engine.schedule.record("acme:m1:0")
        return record is not None and record.retries == 1

    await until(kept_for_later)
    await pod.stop()
    assert not events.records
    good = make_pod()
    await good.start()
    good.advance(60)
    await until(lambda: events.outcomes("m1") == ["send.accepted"])


async def test_dead_token_stops_the_number_until_new_credentials(
    make_pod: MakePod, graph: GraphControl, events: Log
):
    pod = make_pod()
    await pod.start()
    pod.know(credentials(number="number-2"))
    await graph.fault(error=190, match={"phone_number_id": "200000000000001"})
    await pod.take_in(
        send("m1", 1), send("m2", 2), send("other", 1, chat="o", number_id="number-2")
    )
    await until(lambda: events.events("number.stopped"))
    await until(lambda: events.outcomes("other"))
    assert len(await graph.sends()) == 2
    assert [stop.reason for stop in pod.engine.numbers.stops()] == ["token_invalid"]
    ((envelope, data),) = events.events("number.stopped")
    assert (envelope.tenant, data["number_id"], data["error"]["code"]) == ("acme", NUMBER, 190)
    assert (data["reason"], data["until"]) == ("token_invalid", None)
    stopped = pod.engine.metrics.numbers_stopped.labels("token_invalid")
    await until(lambda: stopped._value.get() == 1)
    await pod.stop()
    # Another pod learns of it from the store, before its first POST.
    second = make_pod()
    await second.engine.numbers.load()
    await second.start()
    await until(lambda: second.engine.ownership.settled)
    assert len(second.engine.numbers.stops()) == 1
    assert len(await graph.sends()) == 2
    await graph.call("DELETE", "/faults")
    second.know(credentials(version=2, token="token-2"))
    await until(lambda: events.outcomes("m2") == ["send.accepted"])
    assert [m for m in await graph.accepted() if m != "other"] == ["m1", "m2"]
    await until(lambda: events.events("number.resumed"))
    # A pod that ends between the produce and its note lets the next one tell it again.
    assert len({envelope.id for envelope, _ in events.events("number.stopped")}) == 1


async def test_spam_restriction_pauses_the_number_and_ends_by_itself(
    pod: Pod, graph: GraphControl, events: Log
):
    await graph.fault(error=131048, times=1)
    await pod.take_in(send("m1", 1))
    await until(lambda: events.events("number.stopped"))
    (stop,) = pod.engine.numbers.stops()
    assert stop.until is not None
    ((_, told),) = events.events("number.stopped")
    assert told["until"] == timestamp(stop.until)
    pod.advance(2 * 3600 + 1)
    await until(lambda: events.outcomes("m1") == ["send.accepted"])
    await until(lambda: events.events("number.resumed"))


async def test_operator_resumes_a_number_whose_cause_needs_no_new_token(
    pod: Pod, graph: GraphControl, events: Log
):
    await graph.fault(error=131042, times=1)
    await pod.take_in(send("m1", 1))
    await until(lambda: events.events("number.stopped"))
    assert pod.engine.numbers.resume_now("acme", NUMBER)
    assert not pod.engine.numbers.resume_now("acme", NUMBER)
    await until(lambda: events.outcomes("m1") == ["send.accepted"])


async def test_admin_ends_the_stop_that_was_meant_and_no_later_one(
    pod: Pod, graph: GraphControl, events: Log, database: Database
):
    await graph.fault(error=131042, times=2)
    await pod.take_in(send("m1", 1))
    await until(lambda: events.events("number.stopped"))
    (first,) = pod.engine.numbers.stops()

    def resume(stop: Stop) -> InRecord:
        asked = {"number_id": NUMBER, "stopped_at": timestamp(stop.at)}
        return in_record("number.resume", asked, key=NUMBER)

    await pod.take_in(resume(first))
    await until(lambda: len(events.events("number.stopped")) == 2)
    assert len(events.events("number.resumed")) == 1
    (second,) = pod.engine.numbers.stops()
    assert second.at > first.at
    await pod.take_in(resume(first))
    async with asyncio.timeout(8):
        while await database["calls"].count_documents({"open": True}):  # noqa: ASYNC110 - a poll
            await asyncio.sleep(0.02)
    assert pod.engine.numbers.stops() == [second]
    await pod.take_in(resume(second))
    await until(lambda: events.outcomes("m1") == ["send.accepted"])
    assert await database["numbers"].count_documents({"number": NUMBER}) == 0


async def test_refusal_of_a_replaced_token_does_not_stop_the_number(
    pod: Pod, graph: GraphControl, events: Log
):
    await graph.fault(error=190, times=1)
    pod.faults.hold(FaultPoint.POST_AFTER)
    await pod.take_in(send("m1", 1))
    await pod.faults.reached[FaultPoint.POST_AFTER].wait()
    pod.know(credentials(version=2, token="token-2"))
    pod.faults.release(FaultPoint.POST_AFTER)
    await until(lambda: events.outcomes("m1") == ["send.accepted"])
    assert not events.events("number.stopped")


async def test_throttled_number_is_slowed_down_and_keeps_the_order(
    pod: Pod, graph: GraphControl, events: Log
):
    await graph.fault(error=130429, times=3)
    await pod.take_in(*(send(f"m{n}", n) for n in range(5)))
    await until(lambda: events.outcomes("m4"), 20)
    assert await graph.accepted() == [f"m{n}" for n in range(5)]


async def test_level_of_a_number_sets_its_rate(pod: Pod, graph: GraphControl):
    await graph.call("PUT", "/numbers/200000000000001", {"throughput": "HIGH"})
    pod.engine.schedule.set_number("acme", NUMBER, pod.clock.monotonic(), full_rate=80)
    pod.engine.schedule.set_suspended("acme", 0, suspended=True)
    await pod.take_in(send("m1", 1))
    await until(lambda: pod.engine.ownership.settled)
    await pod.engine.numbers._look_up_levels()
    gate = pod.engine.schedule._gates["acme", NUMBER]
    assert gate.rate.full == 1000


async def test_suspended_tenant_sends_nothing(pod: Pod, graph: GraphControl, events: Log):
    now = pod.clock.monotonic()
    pod.engine.schedule.set_suspended("acme", now, suspended=True)
    await pod.take_in(send("m1", 1))
    await asyncio.sleep(0.1)
    assert await graph.sends() == []
    pod.engine.schedule.set_suspended("acme", now, suspended=False)
    pod.engine.sender.wake()
    await until(lambda: events.outcomes("m1"))


async def test_recipient_without_any_identity_fails_without_a_post(
    pod: Pod, graph: GraphControl, events: Log
):
    await pod.take_in(send("m1", 1, recipient={}))
    await until(lambda: events.outcomes("m1") == ["send.failed"])
    assert events.events()[0][1]["error"]["code"] == "no_recipient"
    assert await graph.sends() == []


async def test_events_wait_for_the_broker(pod: Pod, events: Log):
    events.away = True
    await pod.take_in(send("m1", 1), send("m2", 2))
    await until(lambda: pod.engine.metrics.sends.labels("accept")._value.get() == 2)
    events.away = False
    pod.advance(10)
    await until(lambda: events.outcomes("m1") and events.outcomes("m2"))
    ids = [envelope.id for envelope, _ in events.events()]
    assert set(ids) == {"m1:1:accepted", "m2:1:accepted"}


async def test_pair_limit_holds_one_chat_only(pod: Pod, graph: GraphControl, events: Log):
    await pod.take_in(*(send(f"m{n}", n) for n in range(50)), send("other", 1, chat="other"))
    await until(lambda: events.outcomes("m44") and events.outcomes("other"))
    await asyncio.sleep(0.05)
    assert not events.outcomes("m45")
    pod.advance(6.1)
    await until(lambda: events.outcomes("m45"))
    assert not events.outcomes("m46")


async def test_many_chats_are_sent_in_few_round_trips(
    pod: Pod, graph: GraphControl, events: Log, database: Database
):
    await pod.take_in(*(send(f"m{n}", 1, chat=f"chat-{n}", partition=n % 12) for n in range(300)))
    await until(lambda: len(events.records) == 300, 20)
    assert len(set(await graph.accepted())) == 300
    assert await database["sends"].count_documents({"open": True}) == 0


@pytest.mark.parametrize(
    ("kind", "content", "recipient"),
    [
        pytest.param(
            "text", {"body": "a"}, {"user_id": "US.13491208655302741918"}, id="BSUID only"
        ),
        pytest.param(
            "reaction",
            {"message_id": "wamid.X", "emoji": "👍"},
            {"wa_id": "12025550111"},
            id="reaction",
        ),
        pytest.param(
            "location", {"latitude": 1.5, "longitude": 2.5}, {"wa_id": "12025550111"}, id="location"
        ),
        pytest.param(
            "contacts",
            [{"name": {"formatted_name": "Ana", "first_name": "Ana"}}],
            {"wa_id": "12025550111"},
            id="contacts",
        ),
        pytest.param(
            "interactive",
            {
                "type": "button",
                "body": {"text": "?"},
                "action": {"buttons": [{"type": "reply", "reply": {"id": "1", "title": "Yes"}}]},
            },
            {"wa_id": "12025550111"},
            id="interactive",
        ),
        pytest.param(
            "template",
            {"name": "hello_world", "language": {"code": "en_US"}},
            {"wa_id": "12025550111"},
            id="template",
        ),
    ],
)
async def test_type_is_taken_by_graph(
    pod: Pod,
    graph: GraphControl,
    events: Log,
    kind: str,
    content: object,
    recipient: dict[str, str],
):
    await pod.take_in(send("m1", 1, type=kind, body=content, recipient=recipient))
    await until(lambda: events.outcomes("m1"))
    assert events.outcomes("m1") == ["send.accepted"], events.events()
    (body,) = await graph.sends()
    assert body[kind] == content


async def test_command_that_cannot_be_read_holds_its_chat_and_no_other(
    pod: Pod, graph: GraphControl, events: Log
):
    bad = in_record("message.send", {"message_id": "m1"})
    behind, other = send("m2", 2), send("m3", 1, chat="chat-2")
    rejected = await pod.engine.intake.take_in([bad, behind, other])
    assert [(each.record, each.reason) for each in rejected] == [
        (bad, "bad_payload"),
        (behind, BEHIND),
    ]
    await until(lambda: events.outcomes("m3"))
    assert await graph.accepted() == ["m3"]
