"""Which of the signing keys signs, which verify, and when the next one is due."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class KeyTimes:
    """A key's number, which rises, and the time from which it signs."""

    number: int
    signs_from: datetime


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """`shown` are in the JWKS, oldest first; `retired` verify nothing that is alive."""

    signing: int
    shown: tuple[int, ...]
    retired: tuple[int, ...]
    due: bool


@dataclass(frozen=True, slots=True)
class KeyRule:
    """`life` of a key as the one that signs; it is shown `announced` before it signs.

    `kept` is how long it verifies after its successor signs: longer than any token lives.
    """

    life: timedelta
    announced: timedelta
    kept: timedelta


def plan_keys(keys: Sequence[KeyTimes], rule: KeyRule, now: datetime) -> KeyPlan:
    """What each key is for now. `keys` are in order and not empty."""
    newest = keys[-1]
    signing = next((key for key in reversed(keys) if key.signs_from <= now), keys[0])
    retired = tuple(
        key.number
        for key, following in itertools.pairwise(keys)
        if following.signs_from + rule.kept <= now
    )
    shown = tuple(key.number for key in keys if key.number not in retired)
    return KeyPlan(signing.number, shown, retired, due=newest.signs_from + rule.life <= now)
