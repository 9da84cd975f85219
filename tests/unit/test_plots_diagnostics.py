"""What the plots show, against figures counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.artifact import Labels
from training.data import LabelledReview
from training.plots import diagnostics
from training.predictions import Predictions

LABELS = Labels(
    "t", ("핏", "배송", "색상"), "만족도", ("나쁨", "보통", "좋음", "최고"), (-1, 0, 1, 2), (0.5, 0.4, 0.5), 32
)


def predictions(*, graded: bool = True) -> Predictions:
    """Three reviews; nobody is tagged with 색상, and the source of the last does not annotate 배송."""
    tagged: list[dict[str, int]] = [{"핏": 2, "만족도": 1}, {"배송": -1}, {"만족도": 0}]
    annotated = frozenset(("핏", "배송", "색상"))
    reviews = [
        LabelledReview(str(i), "글", scores, graded, (annotated - {"배송"} if i == 2 else annotated) | scores.keys())
        for i, scores in enumerate(tagged)
    ]
    keyword = np.array([[0.9, 0.3, 0.1], [0.6, 0.35, 0.1], [0.2, 0.9, 0.1]], np.float32)
    sentiment = np.zeros((3, 4, 4), np.float32)
    sentiment[0, 0] = (0.0, 0.1, 0.5, 0.4)  # 핏 2, said 1: right by sign
    sentiment[0, 3] = (0.0, 0.0, 0.8, 0.2)  # 만족도 1
    sentiment[1, 1] = (0.3, 0.0, 0.32, 0.38)  # 배송 -1, said 2
    sentiment[2, 3] = (0.2, 0.6, 0.1, 0.1)  # 만족도 0
    return Predictions(LABELS, tuple(reviews), keyword, sentiment)


def test_keyword_curves_are_of_what_is_known() -> None:
    fit, delivery = diagnostics.keyword_curves(predictions())
    assert (fit.keyword, fit.support, fit.average_precision) == ("핏", 1, 1.0)
    assert (fit.precision_at, fit.recall_at) == (0.5, 1.0)
    # The third review would be a false alarm; whether it says 배송 is not known.
    assert (delivery.keyword, delivery.average_precision) == ("배송", 1.0)
    assert (delivery.precision_at, delivery.recall_at) == (1.0, 0.0), "its threshold finds nothing"
    assert (fit.precision[-1], fit.recall[-1]) == (1, 0)


def test_confusion_is_of_tagged_pairs() -> None:
    confusion = diagnostics.sentiment_confusion(predictions())
    assert confusion.names == LABELS.sentiments
    assert confusion.counts.tolist() == [[0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]]
    assert confusion.shares.sum(1).tolist() == [1, 1, 1, 1]


def test_signs_add_up_where_strength_is_unknown() -> None:
    names, true, probs = diagnostics.sentiment_pairs(predictions(graded=False))
    assert names == diagnostics.SIGN_NAMES
    assert true.tolist() == [2, 2, 0, 1]
    assert probs[2] == pytest.approx([0.3, 0.0, 0.7])
    assert diagnostics.sentiment_confusion(predictions(graded=False)).counts.tolist() == [
        [0, 0, 1],
        [0, 1, 0],
        [0, 0, 2],
    ]


def test_calibration_errors_by_hand() -> None:
    keyword = diagnostics.keyword_reliability(predictions())
    assert keyword.counts.sum() == 8, "nine pairs less the one that is not known"
    sentiment = diagnostics.sentiment_reliability(predictions())
    assert sentiment.counts.tolist() == [1, 1, 1, 1]
    # 0.38 and 0.5 are told of what is wrong, 0.6 and 0.8 of what is right.
    assert sentiment.happened.tolist() == [0, 0, 1, 1]
    assert sentiment.expected_calibration_error == pytest.approx((0.38 + 0.5 + 0.4 + 0.2) / 4, abs=1e-6)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1))
def test_bins_hold_every_pair_once(pairs: list[tuple[float, bool]]) -> None:
    told, happened = np.array([p for p, _ in pairs]), np.array([h for _, h in pairs])
    part = diagnostics.reliability(told, happened)
    assert part.counts.sum() == len(pairs)
    assert (part.counts * part.told).sum() == pytest.approx(told.sum(), abs=1e-6)
    assert (part.counts * part.happened).sum() == pytest.approx(happened.sum())
    assert 0 <= part.expected_calibration_error <= 1


def test_perfect_calibration_has_no_error() -> None:
    told = np.repeat([0.25, 0.75], 4)
    happened = np.array([1, 0, 0, 0, 1, 1, 1, 0], bool)
    assert diagnostics.reliability(told, happened).expected_calibration_error == pytest.approx(0)
