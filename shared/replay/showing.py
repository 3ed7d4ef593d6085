"""What the tools print: nothing personal unless it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from shared.contracts.records import InRecord


def tell(line: str) -> None:
    """One line for the operator."""
    sys.stdout.write(line + "\n")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as their widest cell."""
    lines = [head, *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
    for line in lines:
        tell(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )


def key_text(key: bytes) -> str:
    """A key as it is given back to the tool."""
    try:
        text = key.decode()
    except UnicodeDecodeError:
        text = ""
    return text if text.isprintable() and text and not text.startswith("0x") else "0x" + key.hex()


def key_bytes(text: str) -> bytes:
    """Raises ValueError for a bad `0x`."""
    return bytes.fromhex(text[2:]) if text.startswith("0x") else text.encode()


def record(one: InRecord, *, show: bool) -> None:
    """A record: headers that say what it is, its size; with `show` all of it."""
    tell(f"{one.topic}/{one.partition}/{one.offset}")
    for name, value in one.headers:
        if show or name.startswith(("ce_", "atrio_")):
            tell(f"  {name}: {value.decode(errors='replace')}")
    if show:
        tell(f"  key: {'none' if one.key is None else key_text(one.key)}")
        tell((one.value or b"").decode(errors="replace"))
    else:
        tell(f"  {len(one.value or b'')} bytes; --show prints them: they hold personal data")
