"""Records of the compacted topics, as inbox writes them."""

from __future__ import annotations

import base64
from typing import Any

import orjson

from shared.contracts.directory import EntityKind, directory_key
from shared.contracts.envelope import Envelope, Headers
from shared.contracts.records import InRecord, OutRecord
from shared.contracts.topics import CREDENTIALS, DIRECTORY
from shared.sealing import Sealer

MASTER_KEY = base64.b64encode(bytes(32)).decode()


def headers(kind: str, tenant: str, version: int) -> Headers:
    envelope = Envelope(
        id=f"{kind}:{version}",
        type=kind,
        source="inbox",
        time="2026-06-01T12:00:00.000Z",
        tenant=tenant,
        sequence=version,
    )
    return envelope.headers()


def read(record: OutRecord) -> InRecord:
    return InRecord("t", 0, 0, record.key, record.value, tuple(record.headers), 0)


def number_out(
    number_id: str,
    phone_number_id: str,
    *,
    tenant: str = "acme",
    waba_id: str | None = None,
    app_id: str | None = None,
    version: int = 1,
    gone: bool = False,
) -> OutRecord:
    entry = {
        "id": number_id,
        "tenant": tenant,
        "version": version,
        "phone_number_id": phone_number_id,
        "waba_id": waba_id,
        "app_id": app_id,
    }
    return OutRecord(
        DIRECTORY,
        directory_key(tenant, EntityKind.NUMBER, number_id),
        None if gone else orjson.dumps(entry),
        headers("directory.number", tenant, version),
    )


def number_record(number_id: str, phone_number_id: str, **members: Any) -> InRecord:
    return read(number_out(number_id, phone_number_id, **members))


def tenant_tombstone(tenant: str, *, value: dict[str, Any] | None = None) -> InRecord:
    return read(
        OutRecord(
            DIRECTORY,
            directory_key(tenant, EntityKind.TENANT, tenant),
            None if value is None else orjson.dumps(value),
            headers("directory.tenant", tenant, 2),
        )
    )


def credentials_out(
    number_id: str,
    *,
    app_id: str | None,
    secret: str = "s",
    verify_token: str = "v",
    tenant: str = "acme",
    version: int = 1,
    gone: bool = False,
) -> OutRecord:
    app = {"id": app_id, "secret": secret, "verify_token": verify_token}
    plain = orjson.dumps({"access_token": "t", "app": app if app_id else None})
    entry = {
        "number_id": number_id,
        "tenant": tenant,
        "version": version,
        "phone_number_id": "1",
        "sealed": Sealer(MASTER_KEY).seal(plain, owner=number_id),
    }
    return OutRecord(
        CREDENTIALS,
        number_id.encode(),
        None if gone else orjson.dumps(entry),
        headers("directory.credentials", tenant, version),
    )


def credentials_record(number_id: str, **members: Any) -> InRecord:
    return read(credentials_out(number_id, **members))
