"""Reads records whose header keys are not UTF-8, which aiokafka cannot.

Its parser raises in the middle of a fetch, and again after every refetch: the partition stands
still for ever. Java clients cannot write such a record, librdkafka's can.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.default_records import _DefaultRecordBatchPy
from typing_extensions import override

_HEADER = 12  # base offset (8 bytes) and length (4) in front of every record batch
_MAGIC_AT = 16


class _Lenient(bytearray):
    """A buffer whose slices decode with U+FFFD in place of what is not UTF-8."""

    broken = False

    @override
    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        return _Slice(self, found) if isinstance(place, slice) else found


class _Slice(bytearray):
    def __init__(self, source: _Lenient, taken: bytearray) -> None:
        super().__init__(taken)
        self._source = source

    @override
    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        try:
            return super().decode(encoding)
        except UnicodeDecodeError:
            self._source.broken = True
            return super().decode(encoding, "replace")


async def fetch_leniently(
    client: Any, partition: TopicPartition, position: int, max_bytes: int
) -> tuple[list[ConsumerRecord[bytes, bytes]], set[int], int]:
    """One fetch: the records from a position, the offsets whose header keys were broken, the next.

    Raises KafkaError.
    """
    node = client.cluster.leader_for_partition(partition)
    request = FetchRequest(
        250, 1, max_bytes, 0, [(partition.topic, [(partition.partition, position, max_bytes)])]
    )
    response = await client.send(node, request)
    raw = b""
    for _, parts in response.topics:
        for part in parts:
            raw = bytes(part[-1] or b"")
    return parse_leniently(raw, partition, position)


def parse_leniently(
    raw: bytes, partition: TopicPartition, position: int
) -> tuple[list[ConsumerRecord[bytes, bytes]], set[int], int]:
    """The records of a fetched byte string, from a position on, as `fetch_leniently`."""
    records: list[ConsumerRecord[bytes, bytes]] = []
    broken: set[int] = set()
    following = position
    for piece in _batches(raw):
        batch = _DefaultRecordBatchPy(piece)
        following = max(following, batch.next_offset)
        if batch.is_control_batch:
            continue
        batch._maybe_uncompress()  # noqa: SLF001 - the parser has no seam for the header keys
        buffer = _Lenient(batch._buffer)  # noqa: SLF001
        batch._buffer = buffer  # noqa: SLF001
        for found in batch:
            if found.offset >= position:
                if buffer.broken:
                    broken.add(found.offset)
                records.append(_consumer_record(partition, found))
            buffer.broken = False
    return records, broken, following


def _batches(raw: bytes) -> Iterator[bytearray]:
    at = 0
    while at + _HEADER < len(raw):
        size = _HEADER + int.from_bytes(raw[at + 8 : at + 12], "big")
        # The last batch of a fetch may be cut; formats before v2 have no headers.
        if at + size > len(raw) or raw[at + _MAGIC_AT] < 2:
            return
        yield bytearray(raw[at : at + size])
        at += size


def _consumer_record(partition: TopicPartition, found: Any) -> ConsumerRecord[bytes, bytes]:
    return ConsumerRecord(
        partition.topic,
        partition.partition,
        found.offset,
        found.timestamp,
        found.timestamp_type,
        found.key,
        found.value,
        None,
        len(found.key) if found.key is not None else -1,
        len(found.value) if found.value is not None else -1,
        tuple(found.headers),
    )
