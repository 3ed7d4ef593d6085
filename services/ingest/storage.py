"""The compacted topics in memory: which number is whose, which secret signs for which app."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from services.ingest.model import Number
from shared.contracts.directory import (
    CredentialsEntry,
    EntityKind,
    NumberEntry,
    Secrets,
    split_directory_key,
)
from shared.contracts.errors import PermanentError
from shared.contracts.records import InRecord
from shared.observability.metrics import Metrics
from shared.sealing import Sealer, SealError


class _Versions:
    """Drops what is not above what is held; a removal keeps its version against late repeats."""

    def __init__(self) -> None:
        self._held: dict[str, int] = {}

    def accept(self, entity_id: str, version: int | None) -> bool:
        if version is None:
            return True
        if version <= self._held.get(entity_id, -1):
            return False
        self._held[entity_id] = version
        return True


class Directory:
    """The numbers of all tenants, by `phone_number_id` and by WABA."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._versions = _Versions()
        self._numbers: dict[str, Number] = {}
        self._by_phone: dict[str, dict[str, Number]] = {}
        self._by_waba: dict[str, dict[str, Number]] = {}
        self._erased: set[str] = set()

    def number(self, phone_number_id: str) -> Number | None:
        """The number, if some tenant has it."""
        found = self._by_phone.get(phone_number_id)
        # More than one only while a deletion and the next owner's entry arrive out of order.
        return next(reversed(found.values())) if found else None

    def numbers_of_waba(self, waba_id: str) -> Sequence[Number]:
        """Every number of a WhatsApp Business Account."""
        return tuple(self._by_waba.get(waba_id, {}).values())

    def apply(self, record: InRecord) -> None:
        """Take a record of directory.v1. Raises PermanentError when it cannot be read."""
        if record.key is None:
            raise PermanentError("no_key")
        try:
            tenant, kind, entity_id = split_directory_key(record.key)
        except ValueError:
            self._metrics.unknown_types.labels("directory.v1").inc()
            return
        if kind is EntityKind.NUMBER:
            self._apply_number(tenant, entity_id, record)
        elif kind is EntityKind.TENANT:
            self._apply_tenant(tenant, record)

    def _apply_number(self, tenant: str, entity_id: str, record: InRecord) -> None:
        if record.value is None:
            if self._versions.accept(entity_id, _sequence(record)):
                self._remove(entity_id)
                self._metrics.number_seen.remove(entity_id)
            return
        try:
            entry = NumberEntry.model_validate_json(record.value)
        except ValidationError as bad:
            raise PermanentError("bad_number_entry") from bad
        if entry.id != entity_id or entry.tenant != tenant:
            raise PermanentError("number_entry_under_another_key")
        if tenant in self._erased or not self._versions.accept(entity_id, entry.version):
            return
        if entity_id not in self._numbers:
            # Until its first webhook: the age counts from here, else silence would be no series.
            self._metrics.number_seen.labels(entity_id).set(time.time())
        self._remove(entity_id)
        number = Number(
            id=entry.id,
            tenant=entry.tenant,
            phone_number_id=entry.phone_number_id,
            waba_id=entry.waba_id or None,
            app_id=entry.app_id or None,
        )
        self._numbers[entity_id] = number
        self._by_phone.setdefault(number.phone_number_id, {})[entity_id] = number
        if number.waba_id is not None:
            self._by_waba.setdefault(number.waba_id, {})[entity_id] = number

    def _apply_tenant(self, tenant: str, record: InRecord) -> None:
        # A suspended tenant's messages are stored all the same; an erased one has no numbers.
        if record.value is not None:
            return
        self._erased.add(tenant)
        for entity_id in [one.id for one in self._numbers.values() if one.tenant == tenant]:
            self._remove(entity_id)
            self._metrics.number_seen.remove(entity_id)

    def _remove(self, entity_id: str) -> None:
        number = self._numbers.pop(entity_id, None)
        if number is None:
            return
        for index, name in (
            (self._by_phone, number.phone_number_id),
            (self._by_waba, number.waba_id),
        ):
            if name is not None and name in index:
                index[name].pop(entity_id, None)
                if not index[name]:
                    del index[name]


@dataclass(frozen=True, slots=True)
class App:
    """A tenants' own Meta app: each accepted secret with the tenants that entered it."""

    secrets: dict[bytes, frozenset[str]]
    verify_tokens: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class _Credentials:
    app_id: str
    secret: bytes
    verify_token: bytes
    tenant: str


class Apps:
    """The tenants' own Meta apps, out of the sealed credentials of their numbers."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._versions = _Versions()
        self._by_number: dict[str, _Credentials] = {}
        self._apps: dict[str, App] = {}

    def app(self, app_id: str) -> App | None:
        """The app, if some number belongs to it."""
        return self._apps.get(app_id)

    def apply(self, record: InRecord) -> None:
        """Take a record of credentials.v1. Raises PermanentError when it cannot be opened."""
        if record.key is None:
            raise PermanentError("no_key")
        number_id = record.key.decode(errors="replace")
        if record.value is None:
            if self._versions.accept(number_id, _sequence(record)):
                self._replace(number_id, None)
            return
        try:
            entry = CredentialsEntry.model_validate_json(record.value)
            if entry.number_id != number_id:
                raise PermanentError("credentials_under_another_key")
            plain = self._sealer.open(entry.sealed, owner=entry.number_id)
            app = Secrets.model_validate_json(plain).app
        except SealError as bad:
            raise PermanentError("credentials_not_opened") from bad
        except ValidationError:
            # The error quotes its input: the secrets must not travel with it.
            raise PermanentError("bad_credentials_entry") from None
        if not self._versions.accept(number_id, entry.version):
            return
        if app is None or not app.secret:
            self._replace(number_id, None)
        else:
            held = _Credentials(
                app.id, app.secret.encode(), app.verify_token.encode(), entry.tenant
            )
            self._replace(number_id, held)

    def _replace(self, number_id: str, held: _Credentials | None) -> None:
        old = self._by_number.pop(number_id, None)
        if held is not None:
            self._by_number[number_id] = held
        for app_id in {one.app_id for one in (old, held) if one is not None}:
            self._rebuild(app_id)

    def _rebuild(self, app_id: str) -> None:
        mine = [one for one in self._by_number.values() if one.app_id == app_id]
        if not mine:
            self._apps.pop(app_id, None)
            return
        secrets: dict[bytes, frozenset[str]] = {}
        for one in mine:
            secrets[one.secret] = secrets.get(one.secret, frozenset()) | {one.tenant}
        tokens = frozenset(one.verify_token for one in mine if one.verify_token)
        self._apps[app_id] = App(secrets, tokens)


def _sequence(record: InRecord) -> int | None:
    value = dict(record.headers).get("ce_sequence", b"")
    return int(value) if value.isdigit() else None
