from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.encoding import EncodedReview, Encoder
from client.windows import Window, choose_sentiment, merge_keyword_probs, plan_windows
from client.words import split_words


def review_of(token_counts: list[int]) -> EncodedReview:
    """A review whose word ``i`` has ``token_counts[i]`` tokens."""
    text = " ".join("옷" for _ in token_counts)
    owners = tuple(word for word, count in enumerate(token_counts) for _ in range(count))
    return EncodedReview(text, tuple(split_words(text)), tuple(range(100, 100 + len(owners))), owners)


@given(
    token_counts=st.lists(st.integers(0, 40) | st.integers(0, 4), min_size=1, max_size=120).filter(any),
    max_length=st.integers(8, 64),
    overlap=st.floats(0, 0.5),
)
def test_windows_cover_every_token_within_the_limit(token_counts: list[int], max_length: int, overlap: float) -> None:
    review = review_of(token_counts)
    total, capacity = len(review.input_ids), max_length - 2
    windows = plan_windows(review, max_length, overlap)

    assert windows[0].first_token == 0
    assert windows[-1].last_token == total
    assert all(1 <= window.last_token - window.first_token <= capacity for window in windows)
    for a, b in pairwise(windows):
        assert a.first_token < b.first_token <= a.last_token < b.last_token
    if total <= capacity:
        assert len(windows) == 1
    for edge in {edge for window in windows for edge in (window.first_token, window.last_token)} - {0, total}:
        inside = review.word_of_token[edge - 1] == review.word_of_token[edge]
        assert not inside or token_counts[review.word_of_token[edge]] > capacity


@given(
    token_counts=st.lists(st.integers(1, 4), min_size=30, max_size=300),
    max_length=st.integers(32, 256),
)
def test_windows_of_ordinary_words_share_context_and_are_about_equal(token_counts: list[int], max_length: int) -> None:
    review = review_of(token_counts)
    windows = plan_windows(review, max_length)
    word, shared = 4, max_length // 4
    for a, b in pairwise(windows):
        assert a.last_token - b.first_token > shared - word
    assert all(a.last_token - b.first_token <= shared for a, b in pairwise(windows[:-1]))
    sizes = [window.last_token - window.first_token for window in windows]
    assert min(sizes) > max(sizes[:-1], default=0) - 2 * word


def test_a_review_that_fits_is_one_window(encoder: Encoder) -> None:
    review = encoder.encode("가격 대비 품질이 좋아요")
    assert plan_windows(review, len(review.input_ids) + 2) == (Window(0, len(review.input_ids)),)
    assert len(plan_windows(review, len(review.input_ids) + 1)) == 2


def test_a_word_longer_than_a_window_is_cut_inside() -> None:
    assert plan_windows(review_of([1, 13, 1]), 8) == (Window(0, 1), Window(1, 7), Window(5, 11), Window(9, 15))


def test_impossible_limits_are_refused() -> None:
    with pytest.raises(ValueError, match="max_length 2 must be 3 or more"):
        plan_windows(review_of([1]), 2)
    with pytest.raises(ValueError, match=r"overlap 0.6 between 0 and 0.5"):
        plan_windows(review_of([1]), 32, overlap=0.6)


def test_keywords_take_the_highest_window() -> None:
    probs = np.array([[0.1, 0.9, 0.2], [0.3, 0.4, 0.2]], dtype=np.float32)
    merged = merge_keyword_probs(probs)
    assert merged.dtype == np.float32
    np.testing.assert_array_equal(merged, np.array([0.3, 0.9, 0.2], dtype=np.float32))


def test_sentiment_comes_from_the_window_of_the_keyword_and_overall_is_weighted() -> None:
    keyword_probs = np.array([[0.9, 0.6, 0.1], [0.7, 0.8, 0.2]], dtype=np.float32)
    sentiment = np.array(
        [
            [[0.9, 0.1], [0.8, 0.2], [0.0, 0.0], [1.0, 0.0]],
            [[0.3, 0.7], [0.1, 0.9], [0.0, 0.0], [0.0, 1.0]],
        ],
        dtype=np.float32,
    )
    chosen = choose_sentiment(keyword_probs, sentiment, np.array([30, 10]))
    assert chosen.dtype == np.float32
    expected = [[0.9, 0.1], [0.1, 0.9], [0.0, 0.0], [0.75, 0.25]]
    np.testing.assert_array_equal(chosen, np.array(expected, dtype=np.float32))


def test_sentiment_of_one_window_is_unchanged() -> None:
    sentiment = np.random.default_rng(0).random((1, 5, 5), dtype=np.float32)
    keyword_probs = np.full((1, 4), 0.5, dtype=np.float32)
    np.testing.assert_array_equal(choose_sentiment(keyword_probs, sentiment, np.array([17])), sentiment[0])
