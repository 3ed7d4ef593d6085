from collections import Counter

from shared.testing.webhooks import (
    Customer,
    Delivery,
    Number,
    Wamids,
    WebhookDriver,
    messages_change,
    text_message,
    webhook,
)
from tests.unit.graph.graph_client import SECRET, Receiver

QUICK = {"backoff_s": 0.001, "backoff_max_s": 0.005}


def made(count: int) -> list[dict[str, object]]:
    ids, ana = Wamids(1), Customer()
    return [
        webhook(messages_change(Number(), [text_message(f"n {n}", ana, ids.inbound(ana))], [ana]))
        for n in range(count)
    ]


def bodies(receiver: Receiver) -> list[str]:
    return [message["text"]["body"] for message in receiver.messages()]


async def test_driver_signs_and_keeps_the_order_when_asked(running_receiver: Receiver) -> None:
    running_receiver.hooks.clear()
    one_by_one = Delivery(concurrency=1)
    async with WebhookDriver(running_receiver.url, SECRET, delivery=one_by_one) as driver:
        tally = await driver.deliver(made(5))
    assert bodies(running_receiver) == [f"n {n}" for n in range(5)]
    assert all(hook.signed_with(SECRET) for hook in running_receiver.hooks)
    assert (tally.delivered, tally.answers) == (5, Counter({200: 5}))


async def test_driver_retries_until_200(running_receiver: Receiver) -> None:
    running_receiver.hooks.clear()
    running_receiver.answers[:] = [503, 202]
    async with WebhookDriver(running_receiver.url, SECRET, delivery=Delivery(**QUICK)) as driver:
        tally = await driver.deliver(made(1))
    assert len(running_receiver.hooks) == 3
    assert (tally.delivered, tally.retried, tally.given_up) == (1, 2, 0)


async def test_driver_gives_up_after_its_attempts(running_receiver: Receiver) -> None:
    delivery = Delivery(attempts=2, **QUICK)
    async with WebhookDriver("http://127.0.0.1:9/", SECRET, delivery=delivery) as driver:
        tally = await driver.deliver(made(1))
    assert (tally.given_up, tally.answers) == (1, Counter({0: 2}))


async def test_driver_duplicates_and_shuffles_by_seed(running_receiver: Receiver) -> None:
    delivery = Delivery(concurrency=1, duplicate_ratio=0.5, shuffle=True)
    seen = []
    for _ in range(2):
        running_receiver.hooks.clear()
        driver = WebhookDriver(running_receiver.url, SECRET, delivery=delivery, seed=7)
        async with driver:
            await driver.deliver(made(20))
        seen.append(bodies(running_receiver))
    assert seen[0] == seen[1]
    assert seen[0] != sorted(seen[0])
    assert 22 < len(seen[0]) < 38
    assert set(seen[0]) == {f"n {n}" for n in range(20)}
