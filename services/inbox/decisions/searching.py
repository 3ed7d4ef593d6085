"""The words that messages are found by: without case, accents or marks. Pure."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

WORDS_KEPT: Final = 60
"""Of one message: what is beyond is not found. Each is an entry of the index."""
WORD_LENGTH: Final = 24
WORDS_SOUGHT: Final = 8
_WORD: Final = re.compile(r"\w+")


def folded_words(text: str) -> list[str]:
    """The different words of a text, in their order.

    Letters that stand alone say nothing, digits do. Long ones are known by their beginning.
    """
    # Twice: letters of a kind of their own have a case only once they are taken apart.
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    bare = "".join(each for each in plain if not unicodedata.combining(each))
    found = (word[:WORD_LENGTH] for word in _WORD.findall(bare) if len(word) > 1 or word.isdigit())
    return list(dict.fromkeys(found))


def words_of(text: str) -> list[str]:
    """What a message is kept under."""
    return folded_words(text)[:WORDS_KEPT]


def words_sought(query: str) -> list[str]:
    """What a message must have, the longest first: it is likely the rarest."""
    return sorted(folded_words(query), key=len, reverse=True)[:WORDS_SOUGHT]
