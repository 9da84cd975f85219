"""Strategies over arrays: who is chosen, in which order, and what is said of it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.selection.strategies import (
    closeness,
    near_threshold,
    proportional,
    ranked,
    rarity_weights,
    uncertain_sentiment,
)

SENTIMENTS = ("부정", "중립", "긍정")


def test_ranked_takes_the_first_that_are_free() -> None:
    free = np.array([True, False, True, True])
    assert ranked([(1, "a"), (3, "b"), (0, "c"), (2, "d")])(2, free) == [(3, "b"), (0, "c")]


def test_proportional_draws_by_the_shares_of_the_strata() -> None:
    strata = [("가", "상의")] * 60 + [("나", "상의")] * 30 + [("", "")] * 10
    chosen = proportional(strata, seed=1)(20, np.ones(100, np.bool_))
    assert Counter(strata[row] for row, _ in chosen) == {("가", "상의"): 12, ("나", "상의"): 6, ("", ""): 2}
    assert len({row for row, _ in chosen}) == 20
    assert chosen[0][1] == "drawn at random for 가 / 상의, 60.0% of the pool"
    assert chosen[-1][1] == "drawn at random for unknown / unknown, 10.0% of the pool"


def test_proportional_is_random_and_repeatable() -> None:
    free = np.ones(100, np.bool_)
    first, again, other = (proportional([()] * 100, seed)(10, free) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=40), st.data())
def test_proportional_fills_what_can_be_filled(strata: list[str], data: st.DataObject) -> None:
    free = np.array(data.draw(st.lists(st.booleans(), min_size=len(strata), max_size=len(strata))))
    count = data.draw(st.integers(0, 50))
    rows = [row for row, _ in proportional(strata, 3)(count, free)]
    assert len(rows) == len(set(rows)) == min(count, free.sum())
    assert all(free[row] for row in rows)


def test_closeness_is_relative_to_the_threshold() -> None:
    probs = np.array([[0.5, 0.3], [0.25, 0.15], [0.75, 0.65], [0, 0], [1, 1]], np.float32)
    expected = [[1, 1], [0.5, 0.5], [0.5, 0.5], [0, 0], [0, 0]]
    assert closeness(probs, np.array([0.5, 0.3])) == pytest.approx(np.array(expected), abs=1e-6)


def test_doubts_add_up_and_long_reviews_pay_for_their_length() -> None:
    probs = np.array(
        [
            [0.50, 0.01],  # 0: sure of 길이
            [0.50, 0.15],  # 1: in doubt of both, 길이 with its threshold of 0.3
            [0.99, 0.01],  # 2: certain
            [0.50, 0.01],  # 3: as the first, but long
            [0.01, 0.65],  # 4: near 길이 from above
        ],
        np.float32,
    )
    ranking = near_threshold(probs, (0.5, 0.3), ("핏", "길이"), [44, 44, 44, 205, 44])
    # Closeness 1.033, 1.5, 0.053, 1.033 and 0.52 over a root of 8, 8, 8, 15 and 8.
    assert [row for row, _ in ranking] == [1, 0, 3, 4]
    assert ranking[0][1] == "핏 0.50 is near its threshold 0.50; 길이 0.15 is near its threshold 0.30"
    assert ranking[1][1] == "핏 0.50 is near its threshold 0.50"


def test_rarity_is_against_the_next_more_common_class() -> None:
    assert rarity_weights(np.array([10, 40, 0, 40, 120])).tolist() == [4, 3, 1, 3, 1]


def test_uncertain_and_rare_sentiments_come_first() -> None:
    certain, unsure = [0.02, 0.03, 0.95], [0.05, 0.35, 0.6]
    rare, very_unsure = [0.6, 0.2, 0.2], [0.32, 0.33, 0.35]
    nothing = [0, 0, 0]
    probs = np.array(
        [[nothing, certain], [unsure, certain], [rare, certain], [nothing, very_unsure], [nothing, certain]],
        np.float32,
    )
    ranking = uncertain_sentiment(probs, ("핏", "만족도"), SENTIMENTS)
    # Predicted: 긍정 6 times, 부정 once. Scores: 0.4 * 6 for row 2, 0.65 for row 3, 0.4 for row 1.
    assert [row for row, _ in ranking] == [2, 3, 1]
    assert ranking[0][1] == (
        "핏: sentiment 부정 is sure to 0.60 only, and 부정 is predicted 6.0 times more rarely than 긍정"
    )
    assert ranking[1][1] == "만족도: sentiment 긍정 is sure to 0.35 only"


def test_without_asked_sentiments_nothing_is_proposed() -> None:
    assert uncertain_sentiment(np.zeros((3, 2, 3), np.float32), ("핏", "만족도"), SENTIMENTS) == []
