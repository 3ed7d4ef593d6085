"""What the words of a list mean: the kept words and the pattern say the same."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inbox.decisions.finding import beginning_pattern, folded_pattern, sought
from services.inbox.decisions.searching import phone_ending, pieces, words_of_contact


def matches(word: str, text: str) -> bool:
    # `re` has no classes of Unicode.
    pattern = beginning_pattern(word).replace(r"[\p{L}\p{N}\p{M}_]", "[\\w\u0300-\u036f]")
    return bool(re.search(pattern, text, re.IGNORECASE))


def kept(word: str, text: str) -> bool:
    return any(each.startswith(word) for each in words_of_contact(text, None, ()))


@pytest.mark.parametrize(
    ("words", "text", "found"),
    [
        ("pena", "Lucía PEÑA", True),
        ("peña", "Lucia Pena", True),
        ("lucía", "Luci\u0301a", True),
        ("ena", "Peña", False),
        ("pe", "Lucía Peña", True),
        ("strasse", "Straße", True),
        ("STRAß", "strassen", True),
        ("ñandu", "NANDÚ", True),
        ("ё", "елка", True),
        ("Άλφα", "αλφα", True),
        ("ngu", "Nguyễn", True),
        ("j", "J. Pérez", True),
        ("2", "a2 b", False),
    ],
)
def test_words_begin_words_whatever_their_case_and_accents(words: str, text: str, found: bool):
    for word in pieces(words):
        assert matches(word, text) is found
        assert kept(word, text) is found


LETTERS = st.lists(
    st.sampled_from(["a", "á", "Á", "ñ", "e", "é", "e\u0301", "s", "S", " ", ".", "2", "-"]),
    max_size=12,
).map("".join)


@given(LETTERS, LETTERS)
def test_kept_words_and_the_pattern_say_the_same(words: str, name: str):
    for word in pieces(words):
        assert matches(word, name) is kept(word, name)


@given(st.text(max_size=100))
def test_every_word_is_a_pattern_that_mongodb_takes(words: str):
    re.compile(folded_pattern(words))
    for word in pieces(words):
        assert len(beginning_pattern(word).encode(errors="replace")) < 32_000  # PCRE's limit


@pytest.mark.parametrize(
    ("q", "digits"),
    [
        ("+52 (55) 1234-5678", "525512345678"),
        ("5678", "5678"),
        ("5", None),
        ("ana 5678", None),
        ("٣٤", None),
    ],
)
def test_digits_may_be_of_a_phone(q: str, digits: str | None):
    it = sought(q)
    assert it is not None
    assert it.digits == digits


@pytest.mark.parametrize("q", ["", " ", ".*", "👍🏽", "()"])
def test_what_has_no_word_finds_nothing(q: str):
    assert sought(q) is None


def test_phones_are_kept_from_both_ends_in_all_spellings():
    words = words_of_contact("Ana", "ana_p", ("5215512345678", "525512345678"))
    assert words[:2] == ["ana", "ana_p"]
    for piece in ("52155", "52551", "5215512345678", phone_ending("5678")):
        assert any(word.startswith(piece) for word in words)
