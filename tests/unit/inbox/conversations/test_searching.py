"""The words that messages are kept under and asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inbox.decisions.searching import (
    WORD_LENGTH,
    WORDS_KEPT,
    WORDS_SOUGHT,
    folded_words,
    words_of,
    words_sought,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("¿Cuánto cuesta el CAFÉ?", ["cuanto", "cuesta", "el", "cafe"], id="accents"),
        pytest.param("Straße, ﬁn; ½", ["strasse", "fin", "1", "2"], id="folded_letters"),
        pytest.param("y 2 a 7 €", ["2", "7"], id="single_letters_go_digits_stay"),
        pytest.param("hola HOLA Hola", ["hola"], id="once"),
        pytest.param("👍🏽 … --", [], id="no_word"),
        pytest.param("x" * 99, ["x" * WORD_LENGTH], id="long"),
        pytest.param("привет Ёлка", ["привет", "елка"], id="other_scripts"),
    ],
)
def test_words_are_folded(text: str, words: list[str]):
    assert folded_words(text) == words


def test_words_are_bounded():
    text = " ".join(f"word{number}" for number in range(200))
    assert len(words_of(text)) == WORDS_KEPT
    assert len(words_sought(text)) == WORDS_SOUGHT


def test_longest_word_is_asked_for_first():
    assert words_sought("el café grande") == ["grande", "cafe", "el"]


@given(st.text(max_size=200))
def test_folding_again_changes_nothing(text: str):
    words = folded_words(text)
    assert folded_words(" ".join(words)) == words
