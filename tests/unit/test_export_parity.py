"""What counts as the same answer."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from export.parity import Difference, ParityError, compare
from export.runners import Floats
from export.samples import Batch

SAME = Difference(0.0, 0.0, 0.0, 0.0, 0, 10)
BATCH = Batch(np.zeros((2, 3), np.int64), np.ones((2, 3), np.int64))
THRESHOLDS = (0.5, 0.25)


class Answers:
    """A runner that gives the same answer to every batch; ``sentiments`` of rows that are not asked are 0."""

    def __init__(self, keywords: list[list[float]], sentiment: float, unasked: float = 0.0) -> None:
        self._keywords, self._sentiment, self._unasked = np.array(keywords, np.float32), sentiment, unasked

    def keywords(self, batch: Batch) -> Floats:
        return self._keywords

    def sentiments(self, batch: Batch, keyword_probs: Floats) -> Floats:
        asked = np.pad(keyword_probs >= np.array(THRESHOLDS), ((0, 0), (0, 1)), constant_values=True)
        return np.where(asked, self._sentiment, self._unasked).astype(np.float32)[..., None].repeat(2, 2)


def test_difference_of_probabilities_and_decisions() -> None:
    reference = Answers([[0.6, 0.1], [0.4, 0.2]], 0.5)
    other = Answers([[0.4, 0.1], [0.4, 0.3]], 0.75)
    found = compare(reference, other, [BATCH, BATCH], THRESHOLDS)
    assert found.keyword_max == pytest.approx(0.2)
    assert found.keyword_mean == pytest.approx(0.075)
    assert found.sentiment_max == found.sentiment_mean == found.largest == 0.25
    assert (found.flips, found.decisions) == (4, 8)


def test_answer_where_none_was_asked_counts() -> None:
    reference = Answers([[0.6, 0.1], [0.4, 0.2]], 0.5)
    assert compare(reference, Answers([[0.6, 0.1], [0.4, 0.2]], 0.5, 0.125), [BATCH], THRESHOLDS).largest == 0.125


@pytest.mark.parametrize("field", ["keyword_max", "sentiment_max"])
@pytest.mark.parametrize("value", [0.02, math.nan])
def test_above_the_bound_or_no_number_is_refused(field: str, value: float) -> None:
    with pytest.raises(ParityError, match=r"int8: a probability differs by .*, above 0.01"):
        replace(SAME, **{field: value}).require(0.01, "int8")  # type: ignore[arg-type]


def test_at_the_bound_is_accepted() -> None:
    replace(SAME, keyword_max=0.01).require(0.01, "int8")
