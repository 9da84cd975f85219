from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from client.encoding import EncodedReview, Encoder
from client.highlights import (
    MaskedProbabilities,
    combine_windows,
    pick_highlights,
    rank_words,
    words_to_refine,
)
from client.masking import Row, plan_masks, plan_rows, plan_segments
from client.windows import Window, plan_windows

PRICE, SIZE = 0, 1


def probs(*rows: list[float]) -> NDArray[np.float32]:
    return np.array(rows, dtype=np.float32)


def evidence(
    rows: list[Row], review: EncodedReview, windows: Sequence[Window], weights: NDArray[np.float32]
) -> NDArray[np.float32]:
    """A keyword classifier of which everything is known: the evidence of the words that a row shows, added up.

    ``weights`` is ``[words, K]``; probabilities are ``[rows, K]``.
    """
    shown = [
        set(review.word_of_token[windows[row.window].first_token : windows[row.window].last_token]) - set(row.words)
        for row in rows
    ]
    return np.array([weights[sorted(words)].sum(axis=0) for words in shown], dtype=np.float32)


@pytest.fixture
def review(encoder: Encoder) -> EncodedReview:
    return encoder.encode("가격 대비 좋은데 사이즈가 작아요 가격")


def test_the_word_that_lowers_the_probability_most(encoder: Encoder, review: EncodedReview) -> None:
    windows = plan_windows(review, encoder.max_length)
    rows = plan_masks(0, review, windows, encoder)
    unmasked = probs([0.9, 0.8])
    masked = combine_windows(
        rows, probs([0.2, 0.8], [0.7, 0.8], [0.9, 0.85], [0.9, 0.1], [0.91, 0.4], [0.3, 0.8]), unmasked
    )

    price = pick_highlights(review, PRICE, unmasked, masked, count=10)
    assert [(h.word.start, h.word.text) for h in price] == [(0, "가격"), (review.words[-1].start, "가격"), (3, "대비")]
    assert price[0].probability == pytest.approx(0.9)
    assert price[0].masked_probability == pytest.approx(0.2)
    assert price[0].drop == pytest.approx(0.7)
    assert [h.word.text for h in pick_highlights(review, SIZE, unmasked, masked)] == ["사이즈가"]


def test_no_word_lowers_the_probability(encoder: Encoder, review: EncodedReview) -> None:
    rows = plan_masks(0, review, plan_windows(review, encoder.max_length), encoder)
    unmasked = probs([0.9, 0.8])
    masked = combine_windows(rows, np.full((len(rows), 2), 0.8999998, dtype=np.float32), unmasked)
    assert pick_highlights(review, PRICE, unmasked, masked, count=10) == []


def test_float_noise_does_not_reorder_equal_drops() -> None:
    masked = probs([0.5], [0.4], [0.4 - 1e-7], [0.4 + 1e-7], [0.6])
    assert rank_words(probs([0.9])[0], masked)[:, 0].tolist() == [1, 2, 3, 0, 4]


@given(
    st.lists(st.integers(0, 1_000), min_size=1, max_size=30),
    st.lists(st.floats(-2e-7, 2e-7), min_size=30, max_size=30),
)
def test_rank_is_by_drop_and_then_by_position(milli: list[int], noise: list[float]) -> None:
    masked = np.array(milli)[:, None] / 1_000 + np.array(noise)[: len(milli), None]
    ranked = rank_words(np.ones(1, dtype=np.float32), masked.astype(np.float32))[:, 0].tolist()
    assert ranked == sorted(range(len(milli)), key=lambda i: (milli[i], i))


def test_each_keyword_has_its_own_rank() -> None:
    ranked = rank_words(probs([0.9, 0.9])[0], probs([0.1, 0.8], [0.5, 0.2], [0.9, 0.9]))
    assert ranked.T.tolist() == [[0, 1, 2], [1, 0, 2]]


def test_a_word_counts_only_if_no_other_window_still_shows_the_keyword() -> None:
    """Word 1 lies in both windows, words 0 and 2 in one each."""
    rows = [Row(0, window, (word,), ()) for window, word in [(0, 0), (0, 1), (1, 1), (1, 2)]]
    unmasked = probs([0.9, 0.3], [0.6, 0.7])
    masked = combine_windows(rows, probs([0.1, 0.2], [0.8, 0.1], [0.2, 0.4], [0.6, 0.1]), unmasked)
    assert masked.units == ((0,), (1,), (2,))
    expected = probs([0.6, 0.7], [0.8, 0.4], [0.9, 0.3])
    np.testing.assert_array_equal(masked.probabilities, expected)


def test_highlights_of_a_review_of_several_windows(encoder: Encoder) -> None:
    review = encoder.encode("무난한 옷이에요 " * 12 + "사이즈가 작아요 " + "무난한 옷이에요 " * 12)
    windows = plan_windows(review, encoder.max_length)
    assert len(windows) > 2
    weights = np.zeros((len(review.words), 2), dtype=np.float32)
    weights[24, SIZE] = 0.9
    unmasked = evidence(plan_rows(0, review, windows, encoder), review, windows, weights)
    rows = plan_masks(0, review, windows, encoder)
    masked = combine_windows(rows, evidence(rows, review, windows, weights), unmasked)
    highlights = pick_highlights(review, SIZE, unmasked, masked, count=3)
    assert [(h.word.text, h.masked_probability) for h in highlights] == [("사이즈가", 0.0)]


@pytest.mark.parametrize("words", [5, 8, 9, 14, 40])
def test_the_fast_plan_finds_the_exact_highlight(encoder: Encoder, words: int) -> None:
    """Exactly so where words add up; and for less rows than the exact plan, from nine words on."""
    review = encoder.encode(" ".join(["옷"] * words))
    windows = plan_windows(review, encoder.max_length)
    weights = np.full((words, 2), 0.001, dtype=np.float32)
    weights[words // 2, PRICE] = weights[words - 1, SIZE] = 0.5
    unmasked = evidence(plan_rows(0, review, windows, encoder), review, windows, weights)

    exact = plan_masks(0, review, windows, encoder)
    coarse = plan_segments(0, review, windows, encoder)
    segments = combine_windows(coarse, evidence(coarse, review, windows, weights), unmasked)
    fine = plan_masks(0, review, windows, encoder, words_to_refine(unmasked, segments, [PRICE, SIZE]))
    fast = coarse + fine

    assert len(fast) < len(exact) if words > 9 else len(fast) <= len(exact)
    by_exact = combine_windows(exact, evidence(exact, review, windows, weights), unmasked)
    by_fast = combine_windows(fast, evidence(fast, review, windows, weights), unmasked)
    for keyword in (PRICE, SIZE):
        expected = pick_highlights(review, keyword, unmasked, by_exact)
        assert len(expected) == 1
        assert pick_highlights(review, keyword, unmasked, by_fast) == expected


def test_words_of_the_best_segments_of_each_keyword() -> None:
    masked = MaskedProbabilities(
        units=((0, 1), (2, 3), (4, 5), (6,)),
        probabilities=probs([0.9, 0.1], [0.2, 0.8], [0.5, 0.9], [0.1, 0.9]),
    )
    unmasked = probs([0.9, 0.9])
    assert words_to_refine(unmasked, masked, [SIZE]) == [0, 1]
    assert words_to_refine(unmasked, masked, [PRICE]) == []
    assert words_to_refine(unmasked, masked, [PRICE, SIZE], segments=2) == [0, 1, 2, 3]
    assert words_to_refine(unmasked, masked, []) == []
