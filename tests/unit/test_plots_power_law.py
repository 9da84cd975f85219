"""The power law is found where it holds, and not believed where it does not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.plots.power_law import judge_power_law

SIZES = (500, 1000, 2000, 4000, 8000)


@given(exponent=st.floats(0.2, 1.0), floor=st.floats(0.0, 0.2), least_error=st.floats(0.05, 0.3))
def test_a_law_is_found_again_and_foretells(exponent: float, floor: float, least_error: float) -> None:
    scale = least_error * 8000**exponent

    def score(size: float) -> float:
        return float(1 - scale * size**-exponent - floor)

    judgement = judge_power_law(SIZES, [score(size) for size in SIZES])
    assert judgement.law is not None
    assert judgement.law.score(16000) == pytest.approx(score(16000), abs=0.01)


def test_seeds_may_differ_by_their_noise() -> None:
    random = np.random.default_rng(3)
    sizes = np.repeat(SIZES, 3)
    scores = 1 - 2 * sizes**-0.5 - 0.05 + random.normal(0, 0.002, len(sizes))
    judgement = judge_power_law(sizes.tolist(), scores.tolist())
    assert judgement.law is not None
    told, true = judgement.law.score(16000), 1 - 2 * 16000**-0.5 - 0.05
    assert abs(told - true) < judgement.law.doubt(16000) < 0.02


@pytest.mark.parametrize(
    ("scores", "why"),
    [
        ((0.80, 0.85, 0.88, 0.90, 0.86), "foretell 0.9"),  # the largest size fell
        ((0.80, 0.80, 0.80, 0.90, 0.99), "no power law"),  # grows faster and faster
        ((0.80, 0.79, 0.78, 0.77, 0.76), "no power law"),  # more data, worse
    ],
)
def test_what_is_no_law_is_not_believed(scores: tuple[float, ...], why: str) -> None:
    judgement = judge_power_law(SIZES, scores)
    assert judgement.law is None
    assert why in judgement.why


def test_few_sizes_prove_nothing() -> None:
    judgement = judge_power_law((500, 500, 1000, 2000), (0.8, 0.81, 0.85, 0.88))
    assert judgement.law is None
    assert "3 sizes are too few" in judgement.why
