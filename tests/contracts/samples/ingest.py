"""Webhooks of Meta through ingest's sorter."""

from __future__ import annotations

from pathlib import Path

from services.ingest.model import Source
from services.ingest.storage import Directory
from services.ingest.workflows.accept import Sorter
from shared.contracts.records import OutRecord
from shared.contracts.topics import INBOUND
from shared.ids import IdHasher
from shared.observability.metrics import Metrics
from tests.unit.ingest.entries import number_record

PAYLOADS = Path(__file__).parents[2] / "payloads"
RECEIVED = "2026-05-28T20:26:41.123Z"
WEBHOOKS = ("msg_text", "status_delivered", "smb_echo_text", "template_status_approved")


def sorted_records(name: str) -> list[OutRecord]:
    """What one payload becomes."""
    directory = Directory(Metrics())
    entry = number_record(
        "number-1", "200000000000001", tenant="tenant-1", waba_id="100000000000001"
    )
    directory.apply(entry)
    body = (PAYLOADS / f"{name}.json").read_bytes()
    return Sorter(directory, IdHasher("sample")).sort(body, Source(), RECEIVED).records


def inbound_records() -> list[OutRecord]:
    return [
        record for name in WEBHOOKS for record in sorted_records(name) if record.topic is INBOUND
    ]
