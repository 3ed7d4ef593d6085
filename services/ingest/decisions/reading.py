"""From the bytes of a webhook to JSON, and never another exception than `UnreadableError`."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

MAX_DEPTH = 64
"""Nesting that an item may have: MongoDB takes 100 levels, and documents wrap the item."""


class UnreadableError(Exception):
    """The bytes are not JSON, even with a tolerant reader."""


# Every escape is consumed, so that the `u` behind an escaped backslash is not taken for one.
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]', re.DOTALL)
# What is cut there is still too deep for orjson to write, so its item is refused, not shortened.
_CUT_DEPTH = 500
_CUT_TOKENS = 100_000  # some 50 ms of the event loop
_LONGEST_SAFE_INT = 18  # digits that always fit into 64 bits


def read_json(body: bytes) -> object:
    r"""The JSON of a body. Raises UnreadableError.

    orjson first. What it refuses and Meta can send is read the slow way: half of a surrogate pair
    (a text cut inside an emoji arrives as a lone `\ud83d`) becomes U+FFFD, a number beyond 64 bits
    or beyond a double keeps its digits as text, a byte order mark is skipped. NaN is not JSON.
    Levels beyond 500 are cut, so that one element does not take its neighbours along.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        text = _ESCAPE.sub(_whole, body.decode("utf-8-sig"))
        try:
            return _loads(text)
        except RecursionError:
            return _loads(_cut(text))
    except (ValueError, RecursionError) as bad:
        raise UnreadableError from bad


def _loads(text: str) -> object:
    return json.loads(text, parse_int=_integer, parse_float=_float, parse_constant=_not_a_number)


def _cut(text: str) -> str:
    """The same with null for what nests too deep for any reader. Raises ValueError."""
    kept: list[str] = []
    depth = start = 0
    for count, token in enumerate(_TOKEN.finditer(text)):
        if count == _CUT_TOKENS:
            raise ValueError("too many")
        if token[0] in "[{":
            depth += 1
            if depth == _CUT_DEPTH:
                kept.append(text[start : token.start()])
        elif token[0] in "]}":
            if depth == _CUT_DEPTH:
                start = token.end()
            depth -= 1
    if depth != 0:
        raise ValueError("cut off")
    return "null".join([*kept, text[start:]])


def _whole(escape: re.Match[str]) -> str:
    return "\\ufffd" if escape["lone"] else escape[0]


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _LONGEST_SAFE_INT else digits


def _float(text: str) -> float | str:
    number = float(text)
    return text if number in (float("inf"), float("-inf")) else number


def _not_a_number(name: str) -> object:
    raise ValueError(name)


def is_too_deep(value: object, limit: int = MAX_DEPTH) -> bool:
    """Whether arrays and objects nest deeper than the limit."""
    level: list[Any] = [value]
    for _ in range(limit + 1):
        level = [
            child
            for one in level
            if isinstance(one, dict | list)
            for child in (one.values() if isinstance(one, dict) else one)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True
