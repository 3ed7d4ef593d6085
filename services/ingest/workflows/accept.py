"""A signed body becomes records, and is answered for once they are durable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta

import orjson
import structlog

from services.ingest.decisions.admission import admit
from services.ingest.decisions.reading import UnreadableError, is_too_deep, read_json
from services.ingest.decisions.splitting import split
from services.ingest.model import Item, Number, Reject, Source
from services.ingest.storage import Directory
from shared.contracts.directory import PLATFORM
from shared.contracts.envelope import Envelope, Headers, timestamp
from shared.contracts.inbound import (
    QUARANTINE_APP,
    QUARANTINE_REASON,
    QUARANTINE_TENANTS,
    InboundType,
    QuarantineReason,
)
from shared.contracts.records import OutRecord
from shared.contracts.topics import INBOUND, QUARANTINE
from shared.ids import IdHasher, new_id
from shared.kafka.publisher import Publisher
from shared.kafka.settings import MAX_RECORD_BYTES
from shared.observability.metrics import Metrics

SOURCE = "ingest"
QUARANTINED = "whatsapp.quarantined"
MAX_VALUE_BYTES = MAX_RECORD_BYTES - 64 * 1024
# Each item carries its metadata and contacts, each unknown number a copy of the body: a body made
# for it could grow a thousandfold. Meta's densest (1,000 statuses) grows to twice its size.
MAX_GROWTH = 8
MIN_OUTPUT_BYTES = 8 * 1024 * 1024

_BRACES = (b"{", b"[")
_OCTETS = ("content-type", b"application/octet-stream")

log = structlog.get_logger()


class TooMuchError(Exception):
    """The records of one body would be many times its size."""


class Sorter:
    """Turns a body into the records that hold it: its items, and what must go to quarantine."""

    def __init__(self, directory: Directory, hasher: IdHasher) -> None:
        self._directory = directory
        self._hasher = hasher
        self._fixed: dict[tuple[InboundType, str], Headers] = {}

    def sort(
        self, body: bytes, source: Source, received_at: str, *, only: str | None = None
    ) -> Sorted:
        """The records of a webhook, in its order. Never raises for what a body holds.

        With `only`, the items of that number alone, and nothing for the quarantine.
        """
        try:
            parts = split(read_json(body))
        except UnreadableError:
            return self._quarantine_all(body, source, received_at, QuarantineReason.NOT_JSON)
        out = Sorted(max(MIN_OUTPUT_BYTES, MAX_GROWTH * len(body)))
        rejects = dict.fromkeys(parts.rejects)
        try:
            for item in parts.items:
                if only is None or item.phone_number_id == only:
                    self._place(item, source, received_at, out, rejects)
        except TooMuchError:
            return self._quarantine_all(
                body, source, received_at, QuarantineReason.UNEXPECTED_SHAPE
            )
        if only is not None:
            return out
        for reject in rejects:
            out.quarantine(self._quarantined(body, source, received_at, reject))
        return out

    def _quarantine_all(
        self, body: bytes, source: Source, received_at: str, reason: QuarantineReason
    ) -> Sorted:
        out = Sorted(len(body))
        out.quarantine(self._quarantined(body, source, received_at, Reject(reason)))
        return out

    def _place(
        self,
        item: Item,
        source: Source,
        received_at: str,
        out: Sorted,
        rejects: dict[Reject, None],
    ) -> None:
        phone = item.phone_number_id
        if phone is not None:
            admitted = admit(self._directory.number(phone), source)
            if isinstance(admitted, QuarantineReason):
                rejects[Reject(admitted, phone)] = None
                return
            out.numbers.add(admitted.id)
            value = encode(item, admitted.id, received_at)
            tenants: Iterable[str] = (admitted.tenant,)
        else:
            owners = self._owners(item, source)
            if isinstance(owners, QuarantineReason):
                rejects[Reject(owners)] = None
                return
            number_id = None
            if item.type is not InboundType.CHANGE:
                if len(owners) > 1:
                    rejects[Reject(QuarantineReason.UNEXPECTED_SHAPE)] = None
                    return
                number_id = owners[0].id  # the account has no other that it could be for
                out.numbers.add(number_id)
            value = encode(item, number_id, received_at)
            tenants = sorted({number.tenant for number in owners})
        if value is None:
            rejects[Reject(QuarantineReason.UNEXPECTED_SHAPE, phone)] = None
            return
        for tenant in tenants:
            out.add(item.type, self._record(item, tenant, value, received_at))

    def _owners(self, item: Item, source: Source) -> Sequence[Number] | QuarantineReason:
        # Account fields name no number: they are for every tenant that has one in that WABA.
        found = self._directory.numbers_of_waba(item.waba_id) if item.waba_id else ()
        admitted = [admit(number, source) for number in found]
        numbers = [one for one in admitted if isinstance(one, Number)]
        if numbers:
            return numbers
        return QuarantineReason.WRONG_APP if found else QuarantineReason.UNKNOWN_NUMBER

    def _record(self, item: Item, tenant: str, value: bytes, received_at: str) -> OutRecord:
        number = item.phone_number_id or item.waba_id or ""
        identity = item.identity
        if item.type is InboundType.CHANGE:
            identity = (*identity, self._hasher.of("content", _content(item)))
        headers: Headers = [
            ("ce_id", self._hasher.of("inbound", tenant, number, *identity).encode()),
            ("ce_time", received_at.encode()),
            *self._fixed_headers(item.type, tenant),
        ]
        # 64 bits: two customers who share a key only share a partition; the partitioner hashes
        # it in Python, 0.15 us a byte.
        key = self._hasher.of("inbound-key", number, item.party)[:16].encode()
        return OutRecord(INBOUND, key, value, headers)

    def _fixed_headers(self, kind: InboundType, tenant: str) -> Headers:
        # 3 us an item when they are made anew each time.
        fixed = self._fixed.get((kind, tenant))
        if fixed is None:
            made = Envelope(id="", type=kind.value, source=SOURCE, time="", tenant=tenant).headers()
            fixed = [header for header in made if header[0] not in ("ce_id", "ce_time")]
            self._fixed[kind, tenant] = fixed
        return fixed

    def _quarantined(
        self, body: bytes, source: Source, received_at: str, reject: Reject
    ) -> OutRecord:
        headers = [
            *octet_headers(QUARANTINED, received_at),
            (QUARANTINE_REASON, reject.reason.value.encode()),
        ]
        if source.app_id is not None:
            headers.append((QUARANTINE_APP, source.app_id.encode()))
        if source.tenants is not None:
            headers.append((QUARANTINE_TENANTS, ",".join(sorted(source.tenants)).encode()))
        key = None if reject.phone_number_id is None else reject.phone_number_id.encode()
        return OutRecord(QUARANTINE, key, body, headers)


class Sorted:
    """What a body became, within a limit on its size."""

    __slots__ = ("_room", "kinds", "numbers", "reasons", "records")

    def __init__(self, limit: int) -> None:
        self.records: list[OutRecord] = []
        self.kinds: list[InboundType] = []
        self.reasons: list[str] = []
        self.numbers: set[str] = set()
        self._room = limit

    def add(self, kind: InboundType, record: OutRecord) -> None:
        """Take an item. Raises TooMuchError when the limit is passed."""
        self._room -= len(record.value or b"")
        if self._room < 0:
            raise TooMuchError
        self.records.append(record)
        self.kinds.append(kind)

    def quarantine(self, record: OutRecord) -> None:
        """Take the body once for a reason and number; beyond the limit the first one stands."""
        self._room -= len(record.value or b"")
        if self._room < 0 and self.reasons:
            return
        self.records.append(record)
        self.reasons.append(dict(record.headers)[QUARANTINE_REASON].decode())


def encode(item: Item, number_id: str | None, received_at: str) -> bytes | None:
    """The value of an inbound record (`InboundItem`), or None if nobody could store it."""
    try:
        value = orjson.dumps(
            {
                "field": item.field,
                "item": item.item,
                "contacts": item.contacts,
                "metadata": item.metadata,
                "number_id": number_id,
                "phone_number_id": item.phone_number_id,
                "waba_id": item.waba_id,
                "received_at": received_at,
            }
        )
    except orjson.JSONEncodeError:  # nested beyond 254 levels
        return None
    if len(value) > MAX_VALUE_BYTES:
        return None
    # Counting is a hundred times cheaper than walking; few items have so many brackets.
    if sum(map(value.count, _BRACES)) > 60 and is_too_deep([item.item, item.contacts]):
        return None
    return value


def _content(item: Item) -> str:
    return orjson.dumps(item.item, option=orjson.OPT_SORT_KEYS).decode()


def octet_headers(kind: str, time: str) -> Headers:
    """The headers of a record on the quarantine topic: its value is not JSON of ours."""
    made = Envelope(id=new_id(), type=kind, source=SOURCE, time=time, tenant=PLATFORM).headers()
    return [*(header for header in made if header[0] != "content-type"), _OCTETS]


class AcceptWebhook:
    """Makes a signed body durable."""

    def __init__(
        self,
        sorter: Sorter,
        publisher: Publisher,
        metrics: Metrics,
        *,
        timeout: timedelta,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._sorter = sorter
        self._publisher = publisher
        self._metrics = metrics
        self._timeout = timeout
        self._now = now
        self._seen: dict[str, int] = {}
        self._items = {kind: metrics.webhook_items.labels(kind.value) for kind in InboundType}

    async def __call__(self, body: bytes, source: Source) -> None:
        """Return once every record of the body is acknowledged by all in-sync replicas.

        Raises PublishError on any doubt; a part may be durable then, and readers deduplicate.
        """
        now = self._now()
        found = self._sorter.sort(body, source, timestamp(now))
        await self._publisher.publish(found.records, timeout=self._timeout)
        for kind in found.kinds:
            self._items[kind].inc()
        second = int(now.timestamp())
        for number_id in found.numbers:
            # To the second: telling it costs more than the rest of the counting.
            if self._seen.get(number_id) != second:
                self._seen[number_id] = second
                self._metrics.number_seen.labels(number_id).set(second)
        if found.reasons:
            for reason in found.reasons:
                self._metrics.quarantined.labels(reason).inc()
            log.warning("webhook.quarantined", reasons=found.reasons, items=len(found.kinds))
