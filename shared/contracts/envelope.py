"""CloudEvents 1.0, Kafka protocol binding, binary mode: value = JSON data, attributes in headers.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from shared.contracts.errors import EnvelopeError
from shared.value import value

TYPE_PREFIX = "atrio."
TYPE_SUFFIX = ".v1"
JSON = "application/json"
Headers = list[tuple[str, bytes]]

_SPEC = ("ce_specversion", b"1.0")
_JSON_TYPE = ("content-type", JSON.encode())


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds and `Z`: `2026-06-01T12:00:00.123Z`."""
    # A third of strftime's time; behind the milliseconds stands the offset.
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds")[:23] + "Z"


def parse_timestamp(text: str) -> datetime:
    """The aware UTC time of an RFC 3339 text. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without an offset")
    return moment.astimezone(UTC)


@value
class Envelope:
    """The attributes of one event.

    `type` is the short name of the vocabulary (`message.received`); on the wire it is
    `atrio.message.received.v1`. `sequence` is the version of the subject (for conversations
    gap-free). `time` is RFC 3339 text, made once and kept, so that a repeated event is
    byte-identical.
    """

    id: str
    type: str
    source: str
    time: str
    tenant: str
    subject: str | None = None
    sequence: int | None = None
    traceparent: str | None = None

    def headers(self) -> Headers:
        """The Kafka headers of this event, for a JSON value."""
        out: Headers = [
            ("ce_id", self.id.encode()),
            ("ce_type", f"{TYPE_PREFIX}{self.type}{TYPE_SUFFIX}".encode()),
            ("ce_source", self.source.encode()),
            _SPEC,
            ("ce_time", self.time.encode()),
            ("ce_tenantid", self.tenant.encode()),
            _JSON_TYPE,
        ]
        if self.subject is not None:
            out.append(("ce_subject", self.subject.encode()))
        if self.sequence is not None:
            out.append(("ce_sequence", str(self.sequence).encode()))
        if self.traceparent is not None:
            out.append(("traceparent", self.traceparent.encode()))
        return out


def read_envelope(headers: Iterable[tuple[str, bytes]]) -> Envelope:
    """The envelope in a record's headers; unknown headers are ignored. Raises EnvelopeError."""
    found = dict(headers)
    try:
        kind = found["ce_type"].decode()
        if not (kind.startswith(TYPE_PREFIX) and kind.endswith(TYPE_SUFFIX)):
            raise EnvelopeError("ce_type is not of this system")
        sequence = found.get("ce_sequence")
        subject = found.get("ce_subject")
        trace = found.get("traceparent")
        return Envelope(
            id=found["ce_id"].decode(),
            type=kind[len(TYPE_PREFIX) : -len(TYPE_SUFFIX)],
            source=found["ce_source"].decode(),
            time=found["ce_time"].decode(),
            tenant=found["ce_tenantid"].decode(),
            subject=None if subject is None else subject.decode(),
            sequence=None if sequence is None else int(sequence),
            traceparent=None if trace is None else trace.decode(errors="replace"),
        )
    except KeyError as missing:
        raise EnvelopeError(f"{missing.args[0]} is missing") from missing
    except ValueError as bad:
        raise EnvelopeError("a header is not readable") from bad
