"""What a file's content tells of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measures:
    """Pixels as it is shown, and length; None where it does not say."""

    width: int | None = None
    height: int | None = None
    duration_ms: int | None = None
