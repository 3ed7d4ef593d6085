"""What the words of a list's `q` mean: whose chats, and those where it was said. Pure.

A chat has the words where each of them begins a word of its contact's name or username, or each
begins a word of one of its messages; or where they are digits and the phone begins or ends so.
Two ways lead to these chats. Few are gathered from the words of contacts and messages, which
have an index. Many are come across soon enough by walking down the list with a pattern: of what
very many messages say, only where it was said last.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.inbox.decisions.searching import phone_ending, pieces

Query = dict[str, Any]
_LEAST_DIGITS: Final = 2
_PHONE: Final = re.compile(r"[\d\s().+-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Sought:
    """Beginnings of words, the longest first; `digits` where they may be a phone's."""

    words: tuple[str, ...]
    digits: str | None


def sought(q: str) -> Sought | None:
    """None: nothing in it can be found."""
    digits = re.sub(r"\D", "", q, flags=re.ASCII) if _PHONE.fullmatch(q) else ""
    words = pieces(q)
    if not words:
        return None
    return Sought(tuple(words), digits if len(digits) >= _LEAST_DIGITS else None)


# -- by the words that are kept


def kept_query(tenant: str, beginning: str) -> Query:
    """What has a word that begins so: contacts, messages.

    As a pattern: of two bounds in an array MongoDB would read the document to be sure.
    """
    return {"tenant": tenant, "words": {"$regex": f"^{re.escape(beginning)}"}}


def has_words(kept: Sequence[str], beginnings: Iterable[str]) -> bool:
    """Whether each is the beginning of a kept word."""
    return all(any(word.startswith(each) for word in kept) for each in beginnings)


def phone_ends(it: Sought) -> tuple[str, ...]:
    """What a phone is kept under that begins, or ends, with the digits."""
    return () if it.digits is None else (it.digits, phone_ending(it.digits))


# -- by what a conversation shows


def said_last(it: Sought) -> Query:
    """Conversations whose last line has the words."""
    return {"$and": [{"last_message.text": _pattern(word)} for word in it.words]}


def shown(it: Sought) -> Query:
    """Conversations that show the words: names, phone or last line."""
    names = ("contact.name", "contact.username")
    named = [{"$or": [{name: _pattern(word)} for name in names]} for word in it.words]
    ways: list[Query] = [{"$and": named}, said_last(it)]
    if it.digits is not None:
        ways.append({"contact.wa_id": {"$regex": f"^{it.digits}|{it.digits}$"}})
    return {"$or": ways}


def _pattern(word: str) -> Query:
    return {"$regex": beginning_pattern(word), "$options": "i"}


def beginning_pattern(word: str) -> str:
    """A pattern for texts in which a word begins so, whatever its case and accents."""
    letters = f"(?:{folded_pattern('ss')}|[\u00df\u1e9e])".join(
        map(folded_pattern, word.split("ss"))
    )
    return rf"(?<![\p{{L}}\p{{N}}\p{{M}}_]){letters}"


def _variants() -> dict[str, str]:
    """Base letter -> the letters that are it with an accent: Latin, Greek, Cyrillic."""
    found: dict[str, set[str]] = {}
    for start, end in ((0xC0, 0x250), (0x370, 0x530), (0x1E00, 0x2000)):
        for code in range(start, end):
            letter = chr(code)
            base = unicodedata.normalize("NFD", letter)[0]
            if base != letter and base.isalpha():
                found.setdefault(base.lower(), set()).update((letter.lower(), letter.upper()))
    return {base: "".join(sorted(c for c in each if len(c) == 1)) for base, each in found.items()}


_LETTERS = _variants()
_ACCENTS = "[\u0300-\u036f]*"


def folded_pattern(words: str) -> str:
    """A pattern for the words whatever their accents, composed or not."""
    bare = unicodedata.normalize("NFD", words)
    parts: list[str] = []
    for letter in bare:
        if unicodedata.combining(letter):
            continue
        low = letter.lower()
        others = _LETTERS.get(low)
        if others:
            parts.append(f"[{low}{letter.upper()}{others}]{_ACCENTS}")
        else:
            parts.append(re.escape(letter) + (_ACCENTS if letter.isalnum() else ""))
    return "".join(parts)
