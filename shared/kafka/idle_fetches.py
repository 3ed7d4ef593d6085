"""A consumer with nothing to read asks its brokers seldom, and is answered as soon as before."""

from __future__ import annotations

from typing import Any, Final

_EMPTY_BEFORE: Final = 4
"""Fetches in a row that brought nothing: a consumer in the middle of its work is none of these."""


def keep_idle_fetches(fetcher: Any, *, wait_ms: int) -> None:
    """Let a broker keep a fetch for `wait_ms`, or until one record comes, if it came back empty.

    `fetcher`: aiokafka's, of a consumer that has started. A fetch that is kept for so long has
    every partition of its broker: aiokafka sends a broker one fetch at a time, and a partition
    that is not in it waits for its end.
    """
    choose = fetcher._get_actions_per_node  # noqa: SLF001 - no API
    asked: dict[int, list[Any]] = {}
    empty: dict[int, int] = {}

    def choose_patiently(assignment: Any) -> Any:
        chosen = choose(assignment)
        for node, request in chosen[0]:
            positions = sorted(
                (topic, partition, offset)
                for topic, partitions in request.topics
                for partition, offset, _ in partitions
            )
            empty[node] = empty.get(node, 0) + 1 if asked.get(node) == positions else 0
            asked[node] = positions
            if empty[node] >= _EMPTY_BEFORE and not fetcher._records:  # noqa: SLF001
                request._max_wait_ms = max(wait_ms, request._max_wait_ms)  # noqa: SLF001
                request._min_bytes = 1  # noqa: SLF001 - who gathers records waits for the first
        return chosen

    fetcher._get_actions_per_node = choose_patiently  # noqa: SLF001
