"""Leaves out what a library says again and again."""

from __future__ import annotations

import logging

from typing_extensions import override

LEFT_OUT = "left_out"
_AT_MOST = 3
_SECONDS = 30.0
_TEMPLATES = 1000


class Repeats(logging.Filter):
    """Of one message of a library three lines in 30 s; the next one says how many were left out.

    While Kafka is away, aiokafka tells each of its clients' attempts: 24,000 lines in a minute of
    inbox. A message is its template, whatever it is filled with. Our own lines (structlog hands
    them over as dicts) all pass.
    """

    def __init__(self) -> None:
        super().__init__()
        # When the first of them came, and how many came since.
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        if not isinstance(record.msg, str):
            return True
        template = (record.name, record.msg)
        since, times = self._said.get(template, (record.created, 0))
        if not 0 <= record.created - since < _SECONDS:
            if times > _AT_MOST:
                setattr(record, LEFT_OUT, times - _AT_MOST)
            since, times = record.created, 0
        elif template not in self._said and len(self._said) >= _TEMPLATES:
            self._said.clear()
        self._said[template] = (since, times + 1)
        return times < _AT_MOST
