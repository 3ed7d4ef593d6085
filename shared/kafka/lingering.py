"""Records that linger leave together: after a time, or as soon as they are a crowd."""

from __future__ import annotations

from typing import Any, Final

CROWD: Final = 32
"""Records that are worth a request of their own: under full load nobody waits for the time."""


def leave_together(accumulator: Any) -> None:
    """Let all that lingers go with the first batch that has lingered long enough.

    `accumulator`: aiokafka's, of a producer. By itself it lets each partition's batch linger from
    its own first record on, and asks the broker as often as there are partitions.
    """
    drain = accumulator.drain_by_nodes

    def drain_together(ignore_nodes: Any, muted_partitions: Any = frozenset()) -> Any:
        first = [batches[0] for batches in accumulator._batches.values() if batches]  # noqa: SLF001 - no API
        if _is_crowd(first) or any(not batch.remaining_linger() for batch in first):
            for batch in first:
                batch._linger_time = 0  # noqa: SLF001
        return drain(ignore_nodes, muted_partitions)

    accumulator.drain_by_nodes = drain_together


def _is_crowd(batches: list[Any]) -> bool:
    count: int = sum(batch.record_count for batch in batches)
    return count >= CROWD
