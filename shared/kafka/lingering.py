"""Records that linger leave together, whatever their partition."""

from __future__ import annotations

from typing import Any


def leave_together(accumulator: Any) -> None:
    """Let what lingers for a broker go with the first batch that has lingered long enough.

    `accumulator`: aiokafka's, of a producer. By itself it lets each partition's batch linger from
    its own first record on, and asks the broker as often as there are partitions.
    """
    drain = accumulator.drain_by_nodes

    def drain_together(ignore_nodes: Any, muted_partitions: Any = frozenset()) -> Any:
        first = [batches[0] for batches in accumulator._batches.values() if batches]  # noqa: SLF001 - no API
        if any(not batch.remaining_linger() for batch in first):
            for batch in first:
                batch._linger_time = 0  # noqa: SLF001
        return drain(ignore_nodes, muted_partitions)

    accumulator.drain_by_nodes = drain_together
