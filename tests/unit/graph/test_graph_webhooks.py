from collections import Counter

from tests.unit.graph.graph_client import NUMBER, SECRET, Graph, Receiver


async def test_webhook_is_retried_until_200_with_the_same_bytes(graph: Graph) -> None:
    await graph.control(
        "PATCH", "webhooks", {"statuses": ["sent"], "retry_initial_ms": 5, "retry_max_ms": 20}
    )
    graph.receiver.answers[:] = [503, 500, 202, 204]
    await graph.send()
    told = await graph.idle()
    assert len(graph.receiver.hooks) == 5
    assert len({hook.body for hook in graph.receiver.hooks}) == 1
    assert (told["retried"], told["delivered"], told["pending"]) == (4, 1, 0)
    assert told["answers"] == {"503": 1, "500": 1, "202": 1, "204": 1, "200": 1}


async def test_waiting_retry_is_visible_and_can_be_flushed(graph: Graph) -> None:
    await graph.control(
        "PATCH",
        "webhooks",
        {"statuses": ["sent"], "retry_initial_ms": 60_000, "retry_max_ms": 60_000},
    )
    graph.receiver.answers[:] = [503]
    _, answer = await graph.send()
    await graph.receiver.until(1)
    wamid = answer["messages"][0]["id"]
    path = f"{NUMBER}/message_history?message_id={wamid}"
    while (history := (await graph.call("GET", path))[1]["data"])[0]["events"]["data"][0][
        "webhook_update_state"
    ] == "PENDING":
        pass
    event = history[0]["events"]["data"][0]
    assert (event["webhook_update_state"], event["error_description"]) == ("RETRYING", "HTTP 503")
    counts = (await graph.control("GET", "webhooks"))["counts"]
    assert (counts["pending"], counts["retried"]) == (1, 1)
    await graph.control("POST", "webhooks/flush")
    assert (await graph.idle())["delivered"] == 1
    _, history = await graph.call("GET", path)
    event = history["data"][0]["events"]["data"][0]
    assert (event["delivery_status"], event["webhook_update_state"]) == ("SENT", "DELIVERED")
    assert event["webhook_uri"].endswith("/webhooks/whatsapp")


async def test_retrying_ends_after_the_set_time(graph: Graph) -> None:
    await graph.control("PATCH", "webhooks", {"statuses": ["sent"], "retry_for_s": 0})
    graph.receiver.answers[:] = [503]
    await graph.send()
    told = await graph.idle()
    assert (told["given_up"], told["delivered"]) == (1, 0)
    sent = (await graph.control("GET", "sent"))["items"][0]
    assert sent["statuses"] == [{"status": "sent", "webhook": "FAILED", "error": "HTTP 503"}]


async def test_updates_are_coalesced_into_one_webhook(graph: Graph) -> None:
    await graph.control(
        "PATCH", "webhooks", {"paused": True, "batch_max": 1000, "statuses": ["sent"]}
    )
    for n in range(30):
        await graph.send(f"text {n}")
    assert graph.receiver.hooks == []
    assert (await graph.control("GET", "state"))["webhooks"]["pending"] == 30
    await graph.control("PATCH", "webhooks", {"paused": False})
    await graph.idle()
    assert len(graph.receiver.hooks) == 1
    assert len(graph.receiver.statuses()) == 30
    assert graph.receiver.hooks[0].signed_with(SECRET)


async def test_batches_hold_at_most_batch_max(graph: Graph) -> None:
    await graph.control("PATCH", "webhooks", {"paused": True, "batch_max": 7})
    for _ in range(10):
        await graph.send()
    await graph.control("PATCH", "webhooks", {"paused": False})
    await graph.idle()
    sizes = [len(hook.statuses()) for hook in graph.receiver.hooks]
    assert (sum(sizes), max(sizes)) == (30, 7)


async def test_batch_holds_statuses_and_messages_of_several_numbers(graph: Graph) -> None:
    await graph.control("PUT", "numbers/200000000000002", {"waba_id": "100000000000002"})
    await graph.control(
        "PATCH", "webhooks", {"paused": True, "batch_max": 1000, "statuses": ["sent"]}
    )
    await graph.send()
    await graph.control("POST", "inbound", {"text": "hi"})
    await graph.control("POST", "inbound", {"text": "hi", "phone_number_id": "200000000000002"})
    await graph.control("PATCH", "webhooks", {"paused": False})
    await graph.idle()
    [hook] = graph.receiver.hooks
    assert [entry["id"] for entry in hook.json["entry"]] == ["100000000000001", "100000000000002"]
    assert [len(entry["changes"]) for entry in hook.json["entry"]] == [2, 1]


async def test_failed_batch_can_be_batched_anew(graph: Graph) -> None:
    await graph.control(
        "PATCH",
        "webhooks",
        {"paused": True, "batch_max": 10, "rebatch_on_retry": True, "retry_initial_ms": 0},
    )
    for _ in range(5):
        await graph.send()
    graph.receiver.answers[:] = [503, 503]
    await graph.control("PATCH", "webhooks", {"paused": False, "shuffle": True})
    await graph.idle()
    delivered = Counter(
        (one["id"], one["status"]) for hook in graph.receiver.hooks[2:] for one in hook.statuses()
    )
    assert len(delivered) == 15
    assert set(delivered.values()) == {1}


async def test_duplicates_come_as_often_as_asked(graph: Graph) -> None:
    await graph.control("PATCH", "webhooks", {"duplicate_ratio": 1, "duplicates": 2})
    await graph.send()
    told = await graph.idle()
    assert Counter(graph.receiver.names()) == {"sent": 3, "delivered": 3, "read": 3}
    assert told["duplicated"] == 6


async def test_late_retry_repeats_a_delivered_webhook(graph: Graph) -> None:
    await graph.control(
        "PATCH",
        "webhooks",
        {"statuses": ["sent"], "late_retry_ratio": 1, "late_retry_ms": 30},
    )
    await graph.send()
    told = await graph.idle()
    assert [hook.body for hook in graph.receiver.hooks] == [graph.receiver.hooks[0].body] * 2
    assert (told["late_retries"], told["delivered"]) == (1, 1)


async def test_statuses_can_come_in_reverse(graph: Graph) -> None:
    await graph.control(
        "PATCH",
        "webhooks",
        {"delays_ms": {"sent": 0, "delivered": 40, "read": 80}, "reorder_ratio": 1},
    )
    await graph.send()
    await graph.idle()
    assert graph.receiver.names() == ["read", "delivered", "sent"]
    stamps = {one["status"]: int(one["timestamp"]) for one in graph.receiver.statuses()}
    assert stamps["sent"] <= stamps["delivered"] <= stamps["read"]


async def test_statuses_keep_their_order_by_default(graph: Graph) -> None:
    delays = {"sent": 0, "delivered": 20, "read": 40}
    await graph.control("PATCH", "webhooks", {"delays_ms": delays, "batch_max": 1000})
    for _ in range(10):
        await graph.send()
    await graph.idle()
    seen: dict[str, list[str]] = {}
    for report in graph.receiver.statuses():
        seen.setdefault(report["id"], []).append(report["status"])
    assert list(seen.values()) == [["sent", "delivered", "read"]] * 10


async def test_number_can_belong_to_another_app(graph: Graph, running_receiver: Receiver) -> None:
    webhook = {"app_id": "app-7", "secret": "other-secret"}
    await graph.control("PUT", f"numbers/{NUMBER}", {"webhook": webhook})
    await graph.send()
    await graph.idle()
    assert {hook.path for hook in graph.receiver.hooks} == {"/webhooks/whatsapp/app-7"}
    assert all(hook.signed_with("other-secret") for hook in graph.receiver.hooks)


async def test_nothing_comes_back_without_a_subscription(graph: Graph) -> None:
    path = "100000000000001/subscribed_apps"
    assert (await graph.call("DELETE", path))[1] == {"success": True}
    await graph.send()
    await graph.idle()
    assert graph.receiver.hooks == []
    assert (await graph.call("GET", path))[1] == {"data": []}
    assert (await graph.call("POST", path))[1] == {"success": True}
    await graph.send()
    await graph.idle()
    assert len(graph.receiver.hooks) == 3


async def test_reset_forgets_what_is_pending(graph: Graph) -> None:
    await graph.control("PATCH", "webhooks", {"delays_ms": 60_000})
    await graph.send()
    await graph.control("POST", "reset")
    state = await graph.control("GET", "state")
    assert (state["webhooks"]["pending"], state["accepted"], state["received"]) == (0, 0, 0)
    assert graph.receiver.hooks == []


async def test_what_is_in_flight_at_a_reset_is_not_retried(graph: Graph) -> None:
    await graph.control("PATCH", "webhooks", {"statuses": ["sent"], "retry_initial_ms": 1})
    release = graph.receiver.hold()
    graph.receiver.answers[:] = [503]
    await graph.send()
    await graph.receiver.until(1)
    await graph.control("POST", "reset")
    release.set()
    await graph.idle()
    state = (await graph.control("GET", "state"))["webhooks"]
    assert (state["retried"], len(graph.receiver.hooks)) == (0, 1)


async def test_webhook_stays_below_metas_three_megabytes(graph: Graph) -> None:
    await graph.control("PATCH", "webhooks", {"paused": True, "batch_max": 1000})
    for _ in range(80):
        await graph.control("POST", "inbound", {"text": "🙂" * 4096})
    await graph.control("PATCH", "webhooks", {"paused": False})
    await graph.idle()
    assert len(graph.receiver.messages()) == 80
    assert 1_500_000 < max(len(hook.body) for hook in graph.receiver.hooks) <= 3_000_000
