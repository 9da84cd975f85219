"""Agreement of labellers against values computed by hand."""

from __future__ import annotations

import pytest

from training.data import LabelSet
from training.loop.agreement import Agreement, keyword_agreement, sentiment_agreement

LABELS = LabelSet(("가격", "핏"), "만족도", ("매우부정", "부정", "중립", "긍정", "매우긍정"), (-2, -1, 0, 1, 2))


def reviews(kim: str, lee: str) -> list[dict[str, dict[str, int]]]:
    """Reviews that both labelled: ``1`` where 핏 is tagged."""
    tags = [{"핏": 1, "만족도": 1} if tag == "1" else {"만족도": 1} for tag in kim + lee]
    return [{"kim": one, "lee": other} for one, other in zip(tags[: len(kim)], tags[len(kim) :], strict=True)]


def test_cohens_kappa_of_a_keyword() -> None:
    # Cohen (1960): both 4 times, only kim 1, only lee 2, nobody 3. Observed 0.7; by chance 0.5 * 0.6 + 0.5 * 0.4.
    found = keyword_agreement(reviews("1111100000", "1111011000"), LABELS)
    assert found["핏"].kappa == pytest.approx((0.7 - 0.5) / 0.5)
    assert (found["핏"].share, found["핏"].count) == (0.7, 10)


def test_no_kappa_where_all_say_the_same() -> None:
    assert keyword_agreement(reviews("1111", "1111"), LABELS)["가격"] == Agreement(None, 1.0, 4)
    assert keyword_agreement([{"kim": {"핏": 1}}], LABELS) == {}
    assert sentiment_agreement([{"kim": {"핏": 1}}], LABELS) is None


def test_kappa_of_three_labellers_is_the_mean_over_pairs_by_reviews() -> None:
    both = reviews("1100", "1010")
    third = [{**review, "park": review["kim"]} for review in both[:2]]
    found = keyword_agreement([*third, *both[2:]], LABELS)["핏"]
    # kim and lee over 4 reviews: observed 0.5, chance 0.5. lee and park over 2, same and different, park always
    # tagging: observed 0.5, chance 0.5 * 1. kim and park always say the same: no kappa.
    assert found.kappa == pytest.approx((4 * 0.0 + 2 * 0.0) / 6)
    assert found.count == 4 + 2 + 2
    assert found.share == pytest.approx((2 + 1 + 2) / 8)


def test_sentiment_kappa_weighs_by_squared_distance() -> None:
    pairs = [(1, 1), (1, 2), (-1, -2), (2, 2)]
    found = sentiment_agreement([{"kim": {"핏": a}, "lee": {"핏": b, "가격": 0}} for a, b in pairs], LABELS)
    # Mean squared distance 2/4; by chance the mean over all 16 pairings of the two columns' scores:
    # kim 1, 1, -1, 2 and lee 1, 2, -2, 2: (0+1+9+1) * 2 + (4+9+1+9) + (1+0+16+0) = 62.
    assert found is not None
    assert found.kappa == pytest.approx(1 - (2 / 4) / (62 / 16))
    assert (found.share, found.count) == (0.5, 4)
