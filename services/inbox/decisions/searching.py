"""The words that messages and people are found by: without case, accents or marks. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

WORDS_KEPT: Final = 60
"""Of one message: what is beyond is not found. Each is an entry of the index."""
WORD_LENGTH: Final = 24
WORDS_SOUGHT: Final = 8
NAME_WORDS: Final = 12
"""Of one contact's name and username."""
_BACKWARDS: Final = "<"
"""No word begins so: what follows is a phone from its end."""
_WORD: Final = re.compile(r"\w+")


def _words(text: str) -> list[str]:
    # Twice: letters of a kind of their own have a case only once they are taken apart.
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    bare = "".join(each for each in plain if not unicodedata.combining(each))
    return list(dict.fromkeys(word[:WORD_LENGTH] for word in _WORD.findall(bare)))


def folded_words(text: str) -> list[str]:
    """The different words of a text, in their order.

    Letters that stand alone say nothing, digits do. Long ones are known by their beginning.
    """
    return [word for word in _words(text) if len(word) > 1 or word.isdigit()]


def words_of(text: str) -> list[str]:
    """What a message is kept under."""
    return folded_words(text)[:WORDS_KEPT]


def words_sought(query: str) -> list[str]:
    """What a message must have, the longest first: it is likely the rarest."""
    return sorted(folded_words(query), key=len, reverse=True)[:WORDS_SOUGHT]


# -- people


def pieces(query: str) -> list[str]:
    """Beginnings of words that somebody types, the longest first. A letter is one."""
    return sorted(_words(query), key=len, reverse=True)[:WORDS_SOUGHT]


def words_of_contact(name: str | None, username: str | None, phones: Iterable[str]) -> list[str]:
    """What a contact is kept under: the words of its names, its phone from both ends.

    `phones`: the one that it has, and other spellings of it.
    """
    named = _words(f"{name or ''} {username or ''}")[:NAME_WORDS]
    digits = list(phones)
    return list(dict.fromkeys((*named, *digits, *map(phone_ending, digits))))


def phone_ending(digits: str) -> str:
    """What phones that end so are kept under begins so."""
    return _BACKWARDS + digits[::-1]
