"""When two labels have one name. Pure."""

from __future__ import annotations

import unicodedata


def name_key(name: str) -> str:
    """The same for names that people take for one: case and spaces do not count, accents do."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())
