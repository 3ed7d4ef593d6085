"""A record on its way to a topic, and one as it was read."""

from __future__ import annotations

from shared.contracts.envelope import Headers
from shared.contracts.topics import Topic
from shared.value import value


@value
class OutRecord:
    """What a publisher sends. A None value is a tombstone."""

    topic: Topic
    key: bytes | None
    value: bytes | None
    headers: Headers


@value
class InRecord:
    """What a consumer reads; `topic` is the name on the broker, header values are raw bytes."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int
