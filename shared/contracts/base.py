"""The base of every payload model."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainSerializer

from shared.contracts.envelope import timestamp


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a time needs an offset")
    return moment.astimezone(UTC)


Time = Annotated[datetime, AfterValidator(_aware), PlainSerializer(timestamp, when_used="json")]
"""Aware UTC; on the wire RFC 3339 with milliseconds and `Z`."""


class Payload(BaseModel):
    """A payload on the wire: readers ignore members that they do not know."""

    model_config = ConfigDict(extra="ignore", frozen=True)
