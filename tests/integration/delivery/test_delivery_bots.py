import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from aiohttp import web

from shared.contracts.events import BotOutcome
from shared.contracts.records import InRecord
from tests.integration.delivery.conftest import MakePod
from tests.integration.delivery.delivery_rig import (
    NUMBER,
    TENANT,
    Pod,
    credentials,
    in_record,
    until,
)

pytestmark = pytest.mark.integration

KEY, FORMER = b"k" * 32, b"f" * 32


def whsec(key: bytes) -> str:
    return "whsec_" + base64.b64encode(key).decode()


class FakeBot:
    """A tenant's bot: keeps what it was told, answers what it is told to answer."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.attempts: list[str] = []
        self.bad: list[str] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        head = request.headers
        name, moment = head["webhook-id"], head["webhook-timestamp"]
        signed = b".".join((name.encode(), moment.encode(), body))
        for key, given in zip((KEY, FORMER), head["webhook-signature"].split(" "), strict=True):
            digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
            if given != f"v1,{digest}":
                self.bad.append(given)
        if abs(int(moment) - datetime.now(UTC).timestamp()) > 60:
            self.bad.append(moment)
        self.attempts.append(name)
        status = self.answers.pop(0) if self.answers else 204
        if status == 204:
            self.told.append((name, orjson.loads(body)))
        return web.Response(status=status, headers={"location": f"{self.url}/elsewhere"})

    def names(self, chat: str = "chat-1") -> list[str]:
        return [name for name, _ in self.told if name.startswith(f"{chat}:")]


@pytest.fixture
async def bot() -> AsyncIterator[FakeBot]:
    fake = FakeBot()
    app = web.Application()
    app.router.add_post("/hook", fake.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield fake
    await runner.cleanup()


def with_bot(fake: FakeBot) -> InRecord:
    return credentials(
        version=2,
        bot_webhook_url=f"{fake.url}/hook",
        bot_secret=whsec(KEY),
        bot_former_secret=whsec(FORMER),
        bot_former_until=(datetime.now(UTC) + timedelta(hours=1)).isoformat(),
    )


def notice(version: int, *, chat: str = "chat-1", epoch: int = 1, partition: int = 0) -> InRecord:
    payload = {
        "conversation_id": chat,
        "number_id": NUMBER,
        "epoch": epoch,
        "version": version,
        "type": "message.received",
        "at": "2026-06-01T12:00:00.000Z",
        "data": {"message": {"text": f"text {version}"}},
    }
    event = f"{chat}:{version}:0"
    return in_record("bot.notify", payload, key=chat, event=event, partition=partition)


@pytest.fixture
async def talking(make_pod: MakePod, bot: FakeBot) -> Pod:
    pod = make_pod(bot_private_addresses=True)
    await pod.engine.create_indexes()
    await pod.start()
    pod.know(with_bot(bot))
    return pod


async def finished(pod: Pod) -> None:
    async with asyncio.timeout(8):
        while await pod.engine.call_records.open_records(range(12)):  # noqa: ASYNC110 - a poll
            await asyncio.sleep(0.02)


async def test_bot_is_told_in_order_signed_and_again_until_it_took_it(talking: Pod, bot: FakeBot):
    bot.answers = [500]
    notices = [notice(version) for version in (3, 4, 5)]
    other = [notice(version, chat="chat-2", partition=1) for version in (1, 2)]
    await talking.take_in(*notices, *other)
    await talking.take_in(notices[0])  # the outbox is published once more
    await until(lambda: len(bot.told) == 5)
    assert bot.names() == ["chat-1:3", "chat-1:4", "chat-1:5"]
    assert bot.names("chat-2") == ["chat-2:1", "chat-2:2"]
    assert (len(bot.attempts), bot.bad) == (6, [])
    _, body = next(each for each in bot.told if each[0] == "chat-1:3")
    assert body == {
        "type": "message.received",
        "timestamp": "2026-06-01T12:00:00.000Z",
        "conversation_id": "chat-1",
        "version": 3,
        "data": {"message": {"text": "text 3"}},
    }
    await finished(talking)
    assert not talking.log.records
    calls = talking.engine.metrics.bot_calls
    assert [calls.labels(each)._value.get() for each in ("told", "later", "failed")] == [5, 1, 0]


@pytest.mark.parametrize(
    ("answers", "attempts", "reason"),
    [
        pytest.param([404], 1, "http_404", id="refused"),
        pytest.param([302], 1, "redirected", id="redirects"),
    ],
)
async def test_bot_that_fails_for_good_loses_its_chat_and_what_it_was_to_be_told(
    talking: Pod, bot: FakeBot, answers: list[int], attempts: int, reason: str
):
    bot.answers = answers
    await talking.take_in(notice(3, epoch=1), notice(4, epoch=1), notice(9, epoch=3))
    await until(lambda: bot.told)
    await finished(talking)
    assert bot.names() == ["chat-1:9"]
    assert len(bot.attempts) == attempts + 1
    ((envelope, data),) = talking.log.events()
    outcome = BotOutcome.model_validate(data)
    assert (envelope.type, envelope.tenant) == ("bot.failed", TENANT)
    assert (outcome.reason, outcome.version, outcome.epoch) == (reason, 3, 1)


async def test_bot_inside_the_network_is_not_called(make_pod: MakePod, bot: FakeBot):
    pod = make_pod()
    await pod.engine.create_indexes()
    await pod.start()
    pod.know(with_bot(bot))
    await pod.take_in(notice(1))
    await until(lambda: pod.log.events("bot.failed"))
    bot.url = bot.url.replace("127.0.0.1", "localhost")
    pod.know(credentials(3, bot_webhook_url=f"{bot.url}/hook", bot_secret=whsec(KEY)))
    await pod.take_in(notice(2, epoch=2))
    await until(lambda: len(pod.log.events("bot.failed")) == 2)
    assert {data["reason"] for _, data in pod.log.events()} == {"address_not_allowed"}
    assert bot.attempts == []


async def test_failure_that_could_not_be_told_is_told_by_the_pod_that_takes_over(
    make_pod: MakePod, talking: Pod, bot: FakeBot
):
    bot.answers = [410]
    talking.log.away = True
    await talking.take_in(notice(1), notice(2))
    await until(lambda: bot.attempts)
    await talking.stop()
    talking.log.away = False
    heir = make_pod(bot_private_addresses=True)
    await heir.start()
    heir.know(with_bot(bot))
    await until(lambda: heir.log.events("bot.failed"))
    await finished(heir)
    assert len(heir.log.events("bot.failed")) == 1
