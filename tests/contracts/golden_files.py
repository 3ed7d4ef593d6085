"""The golden files: one record of each type as it was first agreed on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.contracts.envelope import TYPE_PREFIX
from shared.contracts.records import OutRecord

FOLDER = Path(__file__).parent / "golden"


@dataclass(frozen=True, slots=True)
class Golden:
    """A record as text; `name` is the type and version, such as `message.received.v1`."""

    name: str
    topic: str
    key: str
    headers: dict[str, str]
    data: dict[str, Any]

    @property
    def type(self) -> str:
        return self.name.rpartition(".")[0]

    def wire_headers(self) -> list[tuple[str, bytes]]:
        return [(name, value.encode()) for name, value in self.headers.items()]


def golden_of(record: OutRecord) -> Golden:
    headers = {name: value.decode() for name, value in record.headers}
    return Golden(
        name=headers["ce_type"].removeprefix(TYPE_PREFIX),
        topic=record.topic.base,
        key=(record.key or b"").decode(),
        headers=headers,
        data=json.loads(record.value or b"{}"),
    )


def load_all() -> list[Golden]:
    found = []
    for file in sorted(FOLDER.glob("*.json")):
        members = json.loads(file.read_text())
        found.append(Golden(name=file.stem, **members))
    return found


def first_of_each(records: Iterable[OutRecord]) -> dict[str, Golden]:
    found: dict[str, Golden] = {}
    for record in records:
        golden = golden_of(record)
        found.setdefault(golden.name, golden)
    return found


def write_missing(records: Iterable[OutRecord]) -> list[str]:
    """Write the files that are not there; return their names. A file that is there stays."""
    FOLDER.mkdir(exist_ok=True)
    written = []
    for name, golden in first_of_each(records).items():
        file = FOLDER / f"{name}.json"
        if not file.exists():
            members = {
                "topic": golden.topic,
                "key": golden.key,
                "headers": golden.headers,
                "data": golden.data,
            }
            file.write_text(json.dumps(members, indent=2, ensure_ascii=False) + "\n")
            written.append(name)
    return written
