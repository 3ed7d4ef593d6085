import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from services.inbox import ledger
from services.inbox.storage.entries import MESSAGES
from services.inbox.storage.messages import PendingFact, PendingFacts
from shared.contracts.envelope import Envelope, timestamp
from shared.contracts.inbound import QUARANTINE_REASON, InboundType, QuarantineReason
from shared.contracts.records import InRecord, OutRecord
from shared.contracts.topics import INBOUND, QUARANTINE
from shared.kafka.scan import scan
from shared.mongo.parking import MongoParking
from shared.replay.marks import Action, mark
from tests.integration.inbox.conversations.office import Office
from tests.integration.inbox.inbox_rig import DEADLINE_SECONDS

pytestmark = pytest.mark.integration
AT = datetime(2026, 6, 1, 12, tzinfo=UTC)


async def entry(office: Office, wamid: str) -> Any:
    return await office.tenant.admin("GET", f"/v1/admin/ledger/{wamid}")


def parked_record(tenant: str, wamid: str) -> InRecord:
    envelope = Envelope(
        id=uuid.uuid4().hex,
        type="whatsapp.message",
        source="ingest",
        time="2026-06-01T12:00:00.000Z",
        tenant=tenant,
        subject=None,
        sequence=None,
    )
    value = f'{{"item":{{"id":"{wamid}"}}}}'.encode()
    return InRecord(
        "t.whatsapp.inbound.v1",
        0,
        uuid.uuid4().int % 1_000_000,
        b"k",
        value,
        tuple(envelope.headers()),
        int(AT.timestamp() * 1000),
    )


async def test_what_is_stored_is_found_by_its_wamid_and_remembered_when_erased(
    shared_office: Office,
) -> None:
    office = shared_office
    chat = await office.opened_by(office.ana)
    first = (await office.ana("GET", f"/conversations/{chat}/messages")).body["items"][-1]
    found = await entry(office, first["wamid"])
    assert found.status == 200, found.raw
    told = found.body
    hops = [each["hop"] for each in told.pop("hops")]
    assert hops == ["whatsapp", "ingest", "inbox", "event"]
    assert told == {
        "state": "stored",
        "message": {
            "id": first["id"],
            "conversation_id": chat,
            "direction": "in",
            "type": "text",
            "status": None,
            "sent_at": first["sent_at"],
            "received_at": first["received_at"],
        },
        "waiting": [],
        "parked": [],
        "duplicates": [],
        "quarantined": [],
        "late": False,
    }
    await office.ana("DELETE", f"/conversations/{chat}")
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            erased = (await entry(office, first["wamid"])).body
            if erased["state"] == "erased":
                break
            await asyncio.sleep(0.02)
    assert erased["message"]["sent_at"] is None
    assert (await entry(office, "wamid.elsewhere/+==")).code == "not_found"


async def test_a_fact_without_its_message_waits_and_a_parked_record_is_named(
    shared_office: Office,
) -> None:
    office = shared_office
    tenant, database = office.tenant.id, office.base.database
    wamid = f"wamid.{uuid.uuid4().hex}/a+b=="
    ref = office.base.ids.inbound_message(tenant, office.number, wamid)
    fact = PendingFact(
        uuid.uuid4().hex, (ref,), tenant, "whatsapp.status", "ce", b"{}", datetime.now(UTC)
    )
    await PendingFacts(database).put([fact])
    waits = (await entry(office, wamid)).body
    assert waits["state"] == "waiting"
    assert [each["kind"] for each in waits["waiting"]] == ["whatsapp.status"]

    parking, lot = MongoParking(database), uuid.uuid4().hex
    records = [parked_record(tenant, wamid), parked_record("another", wamid)]
    unreadable = InRecord(
        "t.whatsapp.inbound.v1", 0, 1_000_001, b"k", records[0].value, (), records[0].timestamp_ms
    )
    await parking.park(lot, [*records, unreadable], reason="bad_inbound_record")
    parked = (await entry(office, wamid)).body
    assert (parked["state"], len(parked["waiting"])) == ("parked", 1)
    assert [(each["reason"], each["produced_at"]) for each in parked["parked"]] == [
        ("bad_inbound_record", "2026-06-01T12:00:00.000Z")
    ]
    await parking.remove(lot, [*records, unreadable])


async def counted(office: Office, received: int) -> dict[str, int]:
    """The tenant's counters, once they have as many items."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            answer = await office.tenant.admin("GET", "/v1/admin/ledger")
            assert answer.status == 200, answer.raw
            total: dict[str, int] = answer.body["total"]
            if total["received"] >= received:
                assert [each["counts"] for each in answer.body["items"]] == [total]
                return total
            await asyncio.sleep(0.02)


def found(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines of the command, without those of the log."""
    return [each for each in capsys.readouterr().out.splitlines() if each and each[0].isalpha()]


async def test_what_came_is_counted_by_day_and_the_command_finds_what_is_lost(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, publisher = office.tenant.inbox.settings, office.base.publisher
    phone = f"52155{uuid.uuid4().int % 10**8:08d}"
    wamids = [f"wamid.{uuid.uuid4().hex}" for _ in range(2)]
    text = {"from": phone, "type": "text", "text": {"body": "Hola"}}
    message = office.came(InboundType.MESSAGE, phone, {"id": wamids[0], **text})
    status = {"id": "wamid.nobody's", "status": "sent", "recipient_id": phone}
    await publisher.publish([message, message, office.came(InboundType.STATUS, phone, status)])
    await counted(office, 3)
    (chat,) = (await office.sue("GET", "/conversations?view=on_hold&scope=all")).body["items"]
    assert (await office.sue("POST", f"/contacts/{chat['contact']['id']}/block")).status == 200
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not (await office.sue.get(chat["id"]))["contact"]["blocked"]:  # noqa: ASYNC110 - polled
            await asyncio.sleep(0.02)
    await publisher.publish([office.came(InboundType.MESSAGE, phone, {"id": wamids[1], **text})])
    assert await counted(office, 4) == {
        "received": 4,
        "stored": 2,
        "duplicate": 1,
        "refused": 1,
        "messages": 1,
        "facts": 1,
        "changes": 0,
        "blocked": 1,
        "parked": 0,
        "unreadable": 0,
    }
    assert [(await entry(office, each)).body["state"] for each in wamids] == ["stored", "blocked"]
    for wrong in ("from=2026-02-01&to=2026-01-31", "from=2024-01-01&to=2026-01-01", "from=x"):
        answer = await office.tenant.admin("GET", f"/v1/admin/ledger?{wrong}")
        assert answer.code == "validation"
    stranger = await office.tenant.inbox.tenant()
    assert (await stranger.admin("GET", "/v1/admin/ledger")).body["items"] == []

    options = ledger.parser().parse_args(["--days", "1"])
    await ledger.run(options, settings)
    assert not [line for line in found(capsys) if office.tenant.id in line]
    gone = await office.base.database[MESSAGES].find_one_and_delete({"wamid": wamids[0]})
    assert await ledger.run(options, settings) == 1
    place = f"{settings.topic_name(INBOUND)}/{gone['source']}"
    told = found(capsys)
    (lost,) = (line.split() for line in told if line.split()[1] == place)
    assert lost == ["lost", place, "message", "of", "customer"]
    assert [line.split()[0] for line in told if office.tenant.id in line] == [
        "message",
        "duplicate",
    ]


async def test_an_item_says_when_it_passed_each_hop_and_how_often_it_came(office: Office) -> None:
    publisher = office.base.publisher
    phone = f"52155{uuid.uuid4().int % 10**8:08d}"
    wamid = f"wamid.{uuid.uuid4().hex}"
    written = datetime.now(UTC) - timedelta(hours=3)
    item = {"id": wamid, "from": phone, "type": "text", "text": {"body": "Hola"}}
    item["timestamp"] = str(int(written.timestamp()))
    message = office.came(InboundType.MESSAGE, phone, item)
    await publisher.publish([message, message, message])
    await counted(office, 3)

    told = (await entry(office, wamid)).body
    assert (told["state"], told["late"], len(told["duplicates"])) == ("stored", True, 2)
    hops = {each["hop"]: each["at"] for each in told["hops"]}
    assert [*hops] == ["whatsapp", "ingest", "kafka", "inbox", "event"]
    assert sorted(hops.values()) == [*hops.values()]
    assert hops["kafka"] <= told["duplicates"][0]["produced_at"]

    (chat,) = (await office.sue("GET", "/conversations?view=on_hold&scope=all")).body["items"]
    await office.sue("POST", f"/conversations/{chat['id']}/accept")
    sent = (await office.sue.send(chat["id"])).body["id"]
    own = f"wamid.{uuid.uuid4().hex}"
    reports = [
        {"id": own, "status": each, "recipient_id": phone, "biz_opaque_callback_data": sent}
        for each in ("sent", "delivered")
    ]
    await publisher.publish([office.came(InboundType.STATUS, phone, each) for each in reports])
    await counted(office, 5)
    async with asyncio.timeout(DEADLINE_SECONDS):
        # A status that comes before the message's document waits for it.
        while (answer := await entry(office, own)).status == 404:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    of_ours = answer.body
    assert of_ours["message"]["direction"] == "out"
    assert {each["hop"] for each in of_ours["hops"]} == {"inbox", "sent", "delivered"}


async def test_a_quarantined_item_is_told_to_whose_number_it_names_until_it_is_settled(
    office: Office,
) -> None:
    tenant, publisher = office.tenant, office.base.publisher
    number = await tenant.number()
    wamid = f"wamid.{uuid.uuid4().hex}"
    value = {
        "metadata": {"phone_number_id": number["phone_number_id"]},
        "messages": [{"id": wamid, "type": "text"}],
    }
    body = orjson.dumps({"entry": [{"changes": [{"value": value}]}]})
    headers = [
        ("ce_time", timestamp(datetime.now(UTC)).encode()),
        (QUARANTINE_REASON, QuarantineReason.WRONG_APP.value.encode()),
    ]
    key = number["phone_number_id"].encode()
    await publisher.publish(
        [
            OutRecord(QUARANTINE, key, body, headers),
            OutRecord(QUARANTINE, b"another", body, headers),
            OutRecord(QUARANTINE, None, b"{", headers),
        ]
    )
    told = (await entry(office, wamid)).body
    assert (told["state"], told["message"]) == ("quarantined", None)
    (kept,) = told["quarantined"]
    assert kept["reason"] == "wrong_app"
    assert kept["received_at"] <= kept["quarantined_at"]
    stranger = await tenant.inbox.tenant()
    await stranger.number()
    assert (await stranger.admin("GET", f"/v1/admin/ledger/{wamid}")).code == "not_found"

    async for record in scan(
        tenant.inbox.settings, tenant.inbox.settings.topic_name(QUARANTINE), key=key
    ):
        if record.key == key:
            await publisher.publish([mark(QUARANTINE, record, Action.DROPPED, "operator")])
    assert (await entry(office, wamid)).code == "not_found"
