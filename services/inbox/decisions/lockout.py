"""How long signing in must wait after failures."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class Counted(StrEnum):
    """What failures are counted for."""

    EMAIL = "email"
    ADDRESS = "address"


@dataclass(frozen=True, slots=True)
class LockoutRule:
    """`free` failures cost nothing; the next ones lock for `first`, twice that, ... `longest`."""

    free: int
    first: timedelta = timedelta(seconds=30)
    longest: timedelta = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Failures:
    """How many failures there were in a row, and when the last one was."""

    count: int
    last_at: datetime


def locked_until(failures: Failures | None, rule: LockoutRule) -> datetime | None:
    """When the next attempt is heard; None: there is no lock."""
    if failures is None or failures.count < rule.free:
        return None
    # Bounded before it is multiplied: a thousand failures are no overflow.
    doublings = min(failures.count - rule.free, 20)
    return failures.last_at + min(rule.first * (1 << doublings), rule.longest)


def wait_seconds(until: datetime | None, now: datetime) -> int:
    """Whole seconds to wait, 0 for none."""
    if until is None or until <= now:
        return 0
    return max(1, int(-(-(until - now) // timedelta(seconds=1))))


def network_of(address: str) -> str:
    """What an address is counted as: an IPv6 customer has a whole /64 to try from."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
