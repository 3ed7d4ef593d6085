"""The copy of a record that could not be handled."""

from __future__ import annotations

from dataclasses import fields

from typing_extensions import override

from shared.contracts.envelope import Headers
from shared.contracts.records import OutRecord
from shared.contracts.topics import DEAD_LETTER_RETENTION, DEAD_SUFFIX, Topic
from shared.kafka.failure import Rejected

REASON = "atrio_dead_reason"
STAGE = "atrio_dead_stage"
SOURCE = "atrio_dead_source"
KIND = "atrio_dead_kind"
TIME = "atrio_dead_timestamp"


class _DeadTopic(Topic):
    """The dead-letter topic of a topic, as one to write to."""

    __slots__ = ()

    @override
    def name(self, prefix: str = "", lane: str = "") -> str:
        return Topic.name(self, prefix, lane) + DEAD_SUFFIX


def dead_topic(topic: Topic) -> Topic:
    """The dead-letter topic of a topic, as one to write to."""
    about = {field.name: getattr(topic, field.name) for field in fields(topic)}
    return _DeadTopic(**(about | {"retention": DEAD_LETTER_RETENTION, "dead_letters": False}))


def dead_letter(dead: Topic, rejected: Rejected, *, with_value: bool = True) -> OutRecord:
    """The record for `<topic>.dead`: key, headers and raw value as they were, and why it is there.

    `atrio_dead_source` is topic/partition/offset; `atrio_dead_timestamp` the source's Kafka
    timestamp in milliseconds. A record without key and value, which no producer accepts, gets
    an empty value; so does one whose copy would be too large (`with_value=False`).
    """
    record = rejected.record
    headers: Headers = [
        *record.headers,
        (REASON, rejected.reason.encode()),
        (STAGE, rejected.stage.encode()),
        (SOURCE, f"{record.topic}/{record.partition}/{record.offset}".encode()),
        (KIND, rejected.kind.encode()),
        (TIME, str(record.timestamp_ms).encode()),
    ]
    value = record.value if with_value else b""
    if record.key is None and value is None:
        value = b""
    return OutRecord(dead, record.key, value, headers)
