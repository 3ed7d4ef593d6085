"""Whether an item may be taken for the number that it names."""

from __future__ import annotations

from services.ingest.model import Number, Source
from shared.contracts.inbound import QuarantineReason


def admit(number: Number | None, source: Source) -> Number | QuarantineReason:
    """The number that an item is for, or why it may not be taken for it."""
    if number is None:
        return QuarantineReason.UNKNOWN_NUMBER
    if number.app_id != source.app_id:
        return QuarantineReason.WRONG_APP
    if source.tenants is not None and number.tenant not in source.tenants:
        return QuarantineReason.WRONG_APP
    return number
