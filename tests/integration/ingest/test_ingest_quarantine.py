"""Operators and the quarantine, on the real Kafka."""

import asyncio
import os
import sys

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from deploy.local.home import ROOT
from services.ingest.quarantine import parser, run
from services.ingest.settings import IngestSettings
from shared.kafka.publisher import Publisher
from shared.kafka.settings import KafkaSettings
from shared.testing.webhooks import Number
from tests.integration.ingest.ingest_rig import Ingest, Reader, until
from tests.integration.ingest.test_ingest_service import LATER, one, texts
from tests.unit.ingest.entries import MASTER_KEY, number_out

pytestmark = pytest.mark.integration

OWN = Number(phone_number_id="300")
ENV = {
    "ATRIO_APP_SECRETS": "new,old",
    "ATRIO_VERIFY_TOKEN": "verify-me",
    "ATRIO_KEY_SECRET": "key-secret",
    "ATRIO_MASTER_KEY": MASTER_KEY,
}


async def test_operators_drive_drop_and_see_nothing_personal(
    ingest: Ingest,
    publisher: Publisher,
    inbound: Reader,
    settings: KafkaSettings,
    capsys: pytest.CaptureFixture[str],
):
    mine = IngestSettings(
        **settings.model_dump(),
        app_secrets=SecretStr("new"),
        verify_token=SecretStr("verify-me"),
        key_secret=SecretStr("key-secret"),
        master_key=SecretStr(MASTER_KEY),
    )

    async def operate(*arguments: str) -> tuple[int, list[str]]:
        capsys.readouterr()
        with capture_logs():
            code = await run(parser().parse_args(arguments), mine)
        return code, capsys.readouterr().out.splitlines()

    async def places(reason: str) -> list[str]:
        _, lines = await operate("list", "--reason", reason)
        return [line.split()[0] for line in lines[1:]]

    for words in ("to drop", "to keep"):
        await ingest.post(one(words, LATER))
    await ingest.post(one("of another app", OWN))
    await ingest.post(b"no json, secret words")
    dropped, kept = await places("unknown_number")
    (broken,) = await places("not_json")
    (wrong,) = await places("wrong_app")
    assert len((await operate("list"))[1]) == 5

    _, shown = await operate("show", broken)
    assert "secret words" not in "\n".join(shown)
    _, shown = await operate("show", broken, "--show")
    assert "no json, secret words" in shown

    # Nothing changed since: all stays where it is.
    for place, reason in (
        (broken, "not_json"),
        (wrong, "wrong_app"),
        (kept, "unknown_number"),
    ):
        assert await operate("redrive", place) == (1, [f"{place} kept: {reason}"])
    done, lines = await operate("drop", dropped, broken)
    # Partitions have no order among each other.
    assert (done, sorted(lines)) == (0, sorted(f"{each} dropped" for each in (dropped, broken)))
    assert await places("unknown_number") == [kept]

    await publisher.publish(
        [
            number_out("n3", "300", tenant="own", app_id=None, version=2),
            number_out("n9", "900", tenant="late"),
        ]
    )

    assert texts(await inbound.first(1)) == ["to keep"], "the dropped one did not drive itself"
    assert await operate("redrive", "--all", "--reason", "wrong_app") == (0, [f"{wrong} redriven"])
    assert texts(await inbound.first(2)) == ["to keep", "of another app"]

    async def nothing_waits() -> bool:
        return len((await operate("list"))[1]) == 1

    await until(nothing_waits)
    assert len(await inbound.settled()) == 2


async def test_command_line_tells_its_exit_code(settings: KafkaSettings):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.ingest.quarantine",
        "drop",
        "0/99",
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ
        | ENV
        | {
            "ATRIO_KAFKA_SERVERS": settings.kafka_servers,
            "ATRIO_TOPIC_PREFIX": settings.topic_prefix,
        },
    )
    told, _ = await process.communicate()
    assert (process.returncode, told) == (1, b"")
