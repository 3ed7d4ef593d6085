"""A conversation's version as its entity tag (RFC 9110, 8.8.3 and 13.1).

The names that are joined into a view (agents, teams, labels) are no part of it.
"""

import re
from typing import Annotated, Final

from fastapi import Header

_TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e]*)"')
_VERSION: Final = re.compile(r"[0-9]{1,18}")

IfMatch = Annotated[str | None, Header(alias="If-Match", max_length=1000)]
IfNoneMatch = Annotated[str | None, Header(alias="If-None-Match", max_length=1000)]


def etag_of(version: int) -> str:
    return f'"{version}"'


def versions_of(if_match: str | None) -> tuple[int, ...] | None:
    """The versions that an If-Match names, None for any. Weak and foreign tags match none."""
    if if_match is None or if_match.strip() == "*":
        return None
    return tuple(
        int(tag)
        for weak, tag in _TAG.findall(if_match)
        if not weak and re.fullmatch("[0-9]{1,18}", tag)
    )


def is_held(version: int, if_none_match: str | None) -> bool:
    """Whether an If-None-Match names the version; weak tags count."""
    if if_none_match is None:
        return False
    tags = [tag for _, tag in _TAG.findall(if_none_match)]
    return if_none_match.strip() == "*" or str(version) in tags
