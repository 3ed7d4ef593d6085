import asyncio
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from services.inbox.storage.messages import PendingFact, PendingFacts
from shared.contracts.envelope import Envelope
from shared.contracts.records import InRecord
from shared.mongo.parking import MongoParking
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
    assert found.body == {
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
