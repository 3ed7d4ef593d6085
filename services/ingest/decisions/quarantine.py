"""What waits in quarantine until its number is known."""

from __future__ import annotations


class Waiting:
    """Which unknown numbers wait in one partition of the quarantine, and between which offsets.

    The topic is the truth: a record adds, a mark (`up_to`) removes. Reading any part of it twice
    changes nothing, so a rebalance or a restart may read from an older place.
    """

    def __init__(self) -> None:
        self._spans: dict[str, tuple[int, int]] = {}
        self._done: dict[str, set[int]] = {}

    def add(self, phone_number_id: str, offset: int) -> None:
        """A record of an unknown number lies at this offset."""
        first, last = self._spans.get(phone_number_id, (offset, offset))
        self._spans[phone_number_id] = (min(first, offset), max(last, offset))

    def settle(self, phone_number_id: str, up_to: int) -> None:
        """Everything of the number up to and with this offset has been driven again."""
        span = self._spans.get(phone_number_id)
        if span is None or span[0] > up_to:
            return
        if span[1] <= up_to:
            del self._spans[phone_number_id]
            self._done.pop(phone_number_id, None)
        else:
            self._spans[phone_number_id] = (up_to + 1, span[1])

    def skip(self, phone_number_id: str, offset: int) -> None:
        """An operator drove or dropped this one record."""
        if self._spans.get(phone_number_id) == (offset, offset):
            self.settle(phone_number_id, offset)
        elif phone_number_id in self._spans:
            self._done.setdefault(phone_number_id, set()).add(offset)

    def skipped(self, phone_number_id: str) -> frozenset[int]:
        """The offsets inside its span that are done all the same."""
        return frozenset(self._done.get(phone_number_id, ()))

    def spans(self) -> list[tuple[str, int, int]]:
        """Number, first and last offset of each that waits."""
        return [(number, first, last) for number, (first, last) in self._spans.items()]

    def watermark(self, position: int) -> int:
        """Where a later reader must start: the oldest that waits, else the position."""
        return min((first for first, _ in self._spans.values()), default=position)
