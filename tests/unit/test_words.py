from __future__ import annotations

import unicodedata
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from client.words import Word, split_words


@given(st.text())
def test_words_are_those_of_split_at_their_spans(text: str) -> None:
    words = split_words(text)
    assert [word.text for word in words] == text.split()
    assert all(text[word.start : word.end] == word.text for word in words)
    assert all(a.end < b.start for a, b in pairwise(words))


def test_repeated_words_are_told_apart_by_their_spans() -> None:
    assert split_words("너무 너무 작아요") == [Word("너무", 0, 2), Word("너무", 3, 5), Word("작아요", 6, 9)]


def test_whitespace_of_every_kind_separates() -> None:
    assert [word.text for word in split_words("\t핏이\u3000예뻐요\r\n\n또\u00a0살게요 ")] == [
        "핏이",
        "예뻐요",
        "또",
        "살게요",
    ]


def test_spans_count_code_points_and_keep_the_original_form() -> None:
    decomposed = unicodedata.normalize("NFD", "색상이") + " 👍🏽굿"
    assert split_words(decomposed) == [
        Word(unicodedata.normalize("NFD", "색상이"), 0, 8),
        Word("👍🏽굿", 9, 12),
    ]
