"""Keys set aside: a poison record and everything of its key behind it, in order, until released."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from shared.contracts.errors import TransientError
from shared.contracts.records import InRecord
from shared.kafka.failure import Rejected

_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Released:
    """What a release did. `stopped` is the reason at the record that failed again, if one did."""

    replayed: int
    stopped: str | None = None


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """An operator asks the process that has the key's partition to replay the key."""

    id: str
    lot: str
    key: bytes
    by: str


class ParkingLot(Protocol):
    """Where parked records are kept, durably, per lot (one lot per group and topic).

    A key is parked as long as it has a record. Every method raises TransientError when the store
    is away. Two implementations: MongoDB in `shared.mongo`, memory in `shared.testing`.
    """

    async def parked(self, lot: str, keys: Collection[bytes]) -> set[bytes]:
        """Which of the keys are parked."""
        ...

    async def park(self, lot: str, records: Sequence[InRecord], *, reason: str) -> None:
        """Add records, durably; one with the same topic, partition and offset is added once."""
        ...

    async def oldest(self, lot: str, key: bytes, limit: int) -> Sequence[InRecord]:
        """The first records of a key, by partition and offset."""
        ...

    async def remove(self, lot: str, records: Sequence[InRecord]) -> None:
        """Forget records; absent ones are no error."""
        ...

    async def keys(self, lot: str, limit: int = 1000) -> Sequence[bytes]:
        """Keys that are parked, for operators."""
        ...

    async def ask(self, lot: str, key: bytes, *, by: str) -> str:
        """Ask for a key's release; the answer is the request's id. Kept as an account, too."""
        ...

    async def asked(self, lot: str) -> Sequence[ReleaseRequest]:
        """The requests without an answer, oldest first."""
        ...

    async def answer(self, request: ReleaseRequest, released: Released) -> None:
        """Note what a release did."""
        ...


Handler = Callable[[Sequence[InRecord]], Awaitable[Sequence[Rejected] | None]]


async def release(
    parking: ParkingLot,
    lot: str,
    key: bytes,
    handler: Handler,
    *,
    settle: timedelta = timedelta(seconds=1),
) -> Released:
    """Replay a key's parked records in order, one by one, and un-park it.

    Records that arrive meanwhile queue behind and are replayed too. A consumer that asked just
    before the last record left may still park one: after `settle` the lot is looked at again.
    Stops at the first record that fails again; it and the later ones stay parked.
    Raises TransientError when a dependency is away: call again.
    """
    replayed = 0
    looked_again = False
    while True:
        records = await parking.oldest(lot, key, _AT_ONCE)
        if not records:
            if looked_again:
                return Released(replayed)
            looked_again = True
            await asyncio.sleep(settle.total_seconds())
            continue
        looked_again = False
        for record in records:
            try:
                rejected = await handler([record])
            except TransientError:
                raise
            except Exception as error:  # noqa: BLE001 - the outermost edge of a replay
                return Released(replayed, stopped=type(error).__name__)
            if rejected:
                return Released(replayed, stopped=rejected[0].reason)
            await parking.remove(lot, [record])
            replayed += 1
