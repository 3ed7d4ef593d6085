"""What a subscription tells whoever keeps accounts of what became of its records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from shared.contracts.records import InRecord


class RecordAccounts(Protocol):
    """Accounts of one subscription that are right however often records come again.

    An offset is committed only when `keep` has returned for its record. So whoever counts a
    record by its offset, each offset once, misses none and counts none twice.
    """

    def set_aside(self, record: InRecord, *, parked: bool) -> None:
        """It could not be handled: it is parked with its key, or only a dead letter is left."""
        ...

    def settled(self, records: Sequence[InRecord]) -> None:
        """A batch is done with, in the order of its offsets."""
        ...

    async def keep(self) -> None:
        """Make everything settled durable.

        Raises TransientError: it stays settled, and is kept the next time.
        """
        ...

    async def released(self, record: InRecord) -> None:
        """A record that was parked is handled now. Raises TransientError: it comes again."""
        ...
