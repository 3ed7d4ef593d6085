"""The service as a process on a real Kafka."""

import asyncio
import json
import signal
import sys
import time
from pathlib import Path

import aiohttp
import pytest

from deploy.local.home import ROOT
from services.ingest.gateways import GROUP
from shared.contracts.envelope import read_envelope
from shared.contracts.inbound import QUARANTINE_REASON, REDRIVEN_UP_TO, InboundItem
from shared.contracts.records import InRecord
from shared.kafka.publisher import Publisher
from shared.kafka.settings import KafkaSettings
from shared.testing.webhooks import (
    Customer,
    Number,
    Wamids,
    customers,
    messages_change,
    text_message,
    webhook,
)
from tests.integration.ingest.ingest_rig import PATH, Ingest, Reader, running, until
from tests.unit.ingest.entries import credentials_out, number_out

pytestmark = pytest.mark.integration

PAYLOADS = ROOT / "tests" / "payloads"
LATER = Number(phone_number_id="900")


def item(record: InRecord) -> InboundItem:
    return InboundItem.model_validate_json(record.value or b"")


def texts(records: list[InRecord]) -> list[str]:
    return [item(record).item["text"]["body"] for record in records]


def reasons(records: list[InRecord]) -> list[str]:
    found = (dict(record.headers).get(QUARANTINE_REASON) for record in records)
    return [reason.decode() for reason in found if reason is not None]


def one(body: str, number: Number | None = None, customer: Customer | None = None) -> object:
    who = customer or Customer()
    sent = text_message(body, who, Wamids(hash(body) % 1000).inbound(who))
    return webhook(messages_change(number or Number(), [sent], [who]))


async def test_webhooks_become_records(ingest: Ingest, inbound: Reader, quarantine: Reader):
    files = sorted(PAYLOADS.glob("*.json"))
    began = time.time()
    assert await last_webhook(ingest, "n1") < began
    for file in files:
        assert await ingest.post(file.read_bytes()) == (200, None), file.stem

    records = await inbound.settled()

    # One of the samples holds a number that nobody has.
    assert reasons(await quarantine.settled()) == ["unknown_number"]
    assert len(records) >= len(files)
    for record in records:
        assert item(record).waba_id == "100000000000001"
        assert read_envelope(record.headers).tenant == "acme"
    assert await last_webhook(ingest, "n1") >= int(began)  # told to the second
    assert await last_webhook(ingest, "n3") < began


async def last_webhook(ingest: Ingest, number: str) -> float:
    _, told = await ingest.get("/metrics")
    prefix = f'atrio_number_last_webhook_timestamp_seconds{{number="{number}"}} '
    (line,) = (line for line in told.splitlines() if line.startswith(prefix))
    return float(line.removeprefix(prefix))


async def test_a_customers_messages_stay_in_order(ingest: Ingest, inbound: Reader):
    everybody = customers(5)
    ids = Wamids(1)
    for n in range(20):
        sent = [text_message(f"{n}", who, ids.inbound(who)) for who in everybody]
        status, _ = await ingest.post(webhook(messages_change(Number(), sent, everybody)))
        assert status == 200

    records = await inbound.settled()

    assert len(records) == 100
    for who in everybody:
        mine = [r for r in records if item(r).item["from_user_id"] == who.user_id]
        assert len({record.partition for record in mine}) == 1
        assert texts(mine) == [str(n) for n in range(20)]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"", "not_json", id="empty"),
        pytest.param(b"\xff\x00", "not_json", id="binary"),
        pytest.param(b"[" * 1_000_000, "not_json", id="deep"),
        pytest.param(b'{"object":"page","entry":[]}', "not_whatsapp", id="page"),
        pytest.param(b'{"object":"whatsapp_business_account"}', "unexpected_shape", id="shape"),
        pytest.param(b" " * 4 * 1024 * 1024, "not_json", id="4-mib"),
    ],
)
async def test_what_is_not_understood_is_kept_in_quarantine(
    ingest: Ingest, quarantine: Reader, body: bytes, reason: str
):
    assert await ingest.post(body) == (200, None)

    (record,) = await quarantine.first(1)

    assert record.value == body
    assert reasons([record]) == [reason]


async def test_both_secrets_and_the_apps_own_paths(
    ingest: Ingest, inbound: Reader, quarantine: Reader
):
    own = Number(phone_number_id="300")

    assert (await ingest.post(one("a"), "new"))[0] == 200
    assert (await ingest.post(one("b"), "old"))[0] == 200
    assert await ingest.post(one("c"), "three") == (401, "signature_mismatch")
    assert await ingest.post(one("d", own), "three", "app-3") == (200, None)
    assert await ingest.post(one("e", own), "new", "app-3") == (401, "signature_mismatch")
    assert await ingest.post(one("f"), "three", "app-9") == (401, "unknown_app")
    assert await ingest.post(one("g"), "three", "app-3") == (200, None)
    assert await ingest.post(one("h", own), "new") == (200, None)

    assert sorted(texts(await inbound.settled())) == ["a", "b", "d"]
    assert reasons(await quarantine.settled()) == ["wrong_app", "wrong_app"]


async def test_verification(ingest: Ingest):
    query = {"hub.mode": "subscribe", "hub.verify_token": "verify-me", "hub.challenge": "00<b>"}

    assert await ingest.get(PATH, **query) == (200, "00<b>")
    assert await ingest.get(f"{PATH}/app-3", **{**query, "hub.verify_token": "v3"}) == (
        200,
        "00<b>",
    )
    assert (await ingest.get(PATH, **{**query, "hub.verify_token": "v3"}))[0] == 403
    assert (await ingest.get(f"{PATH}/app-9", **query))[0] == 403


async def test_a_body_over_4_mib_is_413(ingest: Ingest):
    assert await ingest.post(b" " * (4 * 1024 * 1024 + 1)) == (413, "body_too_large")
    assert await ingest.post_chunked(5 * 1024 * 1024) == 413
    assert await ingest.post(one("still there")) == (200, None)


async def test_a_new_number_is_known_within_five_seconds(
    ingest: Ingest, publisher: Publisher, inbound: Reader
):
    await publisher.publish(
        [
            number_out("n8", "800", app_id="app-8"),
            credentials_out("n8", app_id="app-8", secret="eight"),
        ]
    )
    created = time.monotonic()

    async def is_known() -> bool:
        body = one("hello", Number(phone_number_id="800"))
        return (await ingest.post(body, "eight", "app-8"))[0] == 200

    await until(is_known, 5)

    assert texts(await inbound.first(1)) == ["hello"]
    assert time.monotonic() - created < 5


async def test_an_unknown_number_is_driven_again_when_it_appears(
    ingest: Ingest, publisher: Publisher, inbound: Reader, quarantine: Reader
):
    for n in range(3):
        assert await ingest.post(one(f"{n}", LATER)) == (200, None)
    both = webhook(
        messages_change(Number(), [text_message("known", Customer(), "wamid.K")]),
        messages_change(LATER, [text_message("3", Customer(), "wamid.L")]),
    )
    assert await ingest.post(both) == (200, None)
    assert await ingest.post(one("other", Number(phone_number_id="901"))) == (200, None)
    assert texts(await inbound.settled()) == ["known"]

    await publisher.publish([number_out("n9", "900", tenant="late")])

    records = [r for r in await inbound.first(5) if item(r).phone_number_id == "900"]
    assert texts(records) == ["0", "1", "2", "3"]
    assert {read_envelope(record.headers).tenant for record in records} == {"late"}
    kept = {read_envelope(r.headers).time for r in await quarantine.settled() if r.key == b"900"}
    assert {read_envelope(record.headers).time for record in records} <= kept


async def test_an_unknown_number_is_driven_again_by_the_next_process_and_only_once(
    settings: KafkaSettings,
    publisher: Publisher,
    inbound: Reader,
    quarantine: Reader,
    tmp_path: Path,
):
    async with running(settings, tmp_path / "1.log") as ingest:
        for n in range(3):
            assert await ingest.post(one(f"{n}", LATER)) == (200, None)
        ingest.process.kill()
        await ingest.process.wait()
    await publisher.publish([number_out("n9", "900")])

    async with running(settings, tmp_path / "2.log"):
        assert texts(await inbound.first(3)) == ["0", "1", "2"]

        async def is_marked() -> bool:
            return any(REDRIVEN_UP_TO in dict(r.headers) for r in await quarantine.poll())

        await until(is_marked)

    async with running(settings, tmp_path / "3.log"), running(settings, tmp_path / "4.log") as last:
        assert await last.post(one("new", LATER)) == (200, None)
        assert texts(await inbound.first(4)) == ["0", "1", "2", "new"]
        await until(lambda: has_read_on(settings))
    assert len(await inbound.settled()) == 4


async def has_read_on(settings: KafkaSettings) -> bool:
    """Whether the re-driving group has read to the end and has nothing that waits."""
    from aiokafka import AIOKafkaConsumer
    from aiokafka.admin import AIOKafkaAdminClient

    admin = AIOKafkaAdminClient(**settings.client_options())
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(settings.topic_prefix + GROUP)
    finally:
        await admin.close()
    consumer = AIOKafkaConsumer(group_id=None, **settings.client_options())
    await consumer.start()
    try:
        ends = await consumer.end_offsets(list(offsets))
    finally:
        await consumer.stop()
    return {each: found.offset for each, found in offsets.items() if found.offset > 0} == {
        each: end for each, end in ends.items() if end > 0
    }


async def test_a_forged_body_is_not_driven_again_for_the_owner(
    ingest: Ingest, publisher: Publisher, inbound: Reader, settings: KafkaSettings
):
    # Mallory enters Own's app id with a secret of her own, before Own adds the number.
    await publisher.publish(
        [
            number_out("n7", "700", tenant="mallory", app_id="app-3"),
            credentials_out("n7", app_id="app-3", secret="forged", tenant="mallory"),
        ]
    )

    async def is_accepted() -> bool:
        return (await ingest.post(one("forged", LATER), "forged", "app-3"))[0] == 200

    await until(is_accepted)
    assert await ingest.post(one("true", LATER), "three", "app-3") == (200, None)

    await publisher.publish([number_out("n9", "900", tenant="own", app_id="app-3")])
    await until(lambda: has_read_on(settings))

    assert texts(await inbound.settled()) == ["true"]


async def test_sigterm_under_load_answers_what_it_took(ingest: Ingest, inbound: Reader):
    answered: list[str] = []
    refused = 0

    async def client(name: int) -> None:
        nonlocal refused
        for n in range(10_000):
            try:
                status, _ = await ingest.post(one(f"{name}.{n}"))
            except aiohttp.ClientConnectorError:
                return
            except aiohttp.ClientError:
                # The server closed a connection that was idle: nothing was answered.
                refused += 1
                return
            assert status == 200
            answered.append(f"{name}.{n}")
            if len(answered) == 300:
                ingest.process.send_signal(signal.SIGTERM)

    await asyncio.gather(*(client(name) for name in range(8)))

    async with asyncio.timeout(15):
        assert await ingest.process.wait() == 0
    assert set(answered) <= set(texts(await inbound.settled()))


async def test_nothing_personal_is_logged(
    settings: KafkaSettings, publisher: Publisher, inbound: Reader, tmp_path: Path
):
    log = tmp_path / "ingest.log"
    async with running(settings, log) as ingest:
        await ingest.post(one("top secret words"))
        await ingest.post(one("top secret words", LATER))
        await ingest.post(b"top secret words")
        await ingest.post(one("top secret words"), "wrong")
        _, metrics = await ingest.get("/metrics")

    told = log.read_text()
    for line in told.splitlines():
        json.loads(line)
    assert "webhook.quarantined" in told
    for personal in ("top secret", "wamid", "1202555", "US.9", "200000000000001", "key-secret"):
        assert personal not in told
        assert personal not in metrics


async def test_missing_settings_end_with_their_names_alone():
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.ingest",
        env={"PYTHONPATH": str(ROOT), "ATRIO_APP_SECRETS": "do-not-tell", "PATH": ""},
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    _, told = await process.communicate()

    assert process.returncode == 1
    assert told == b"ingest: settings are not valid: key_secret, master_key, verify_token\n"
