"""When a tenant's people work."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from shared.contracts.base import Payload

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Shift(Payload):
    """From `opens` until before `closes`, both `HH:MM` of the place; `24:00` ends a day."""

    days: list[Day]
    opens: str
    closes: str


class BusinessHours(Payload):
    """`timezone` is IANA's name. `text`: what a customer is told once while nobody works."""

    timezone: str
    shifts: list[Shift]
    text: str | None = None


def is_open(hours: BusinessHours | None, now: datetime) -> bool:
    """Whether somebody works; always where nothing is set, or the zone is not known here."""
    if hours is None:
        return True
    try:
        local = now.astimezone(ZoneInfo(hours.timezone))
    except (ZoneInfoNotFoundError, ValueError):
        return True
    day, clock = _DAYS[local.weekday()], f"{local:%H:%M}"
    return any(day in s.days and s.opens <= clock < s.closes for s in hours.shifts)
