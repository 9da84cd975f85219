"""The tables of the comparison, against figures counted by hand."""

from __future__ import annotations

import pytest

from training.data import LabelledReview, LabelSet
from training.generative.evaluation import answer_tables

LABEL_SET = LabelSet(("핏", "배송"), "만족도", ("나쁨", "보통", "좋음", "최고"), (-1, 0, 1, 2))


def review(
    scores: dict[str, int], *, graded: bool = True, annotated: tuple[str, ...] = ("핏", "배송")
) -> LabelledReview:
    return LabelledReview("1", "글", scores, graded, frozenset(annotated) | scores.keys())


REVIEWS = [review({"핏": 1, "만족도": 2}), review({"배송": -1, "만족도": -1}), review({"만족도": 0})]
# The first is right but for a level, the second misses 배송, the third names 핏, which is not tagged.
ANSWERS = [{"핏": 1, "만족도": 1}, {"만족도": -1}, {"핏": 0, "만족도": 0}]


def test_keywords_are_counted_without_the_overall_label() -> None:
    table = answer_tables(REVIEWS, ANSWERS, LABEL_SET)["keywords"]
    assert table["micro avg"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
    assert table["배송"]["recall"] == 0


def test_a_pair_that_is_not_named_is_left_out_or_wrong() -> None:
    tables = answer_tables(REVIEWS, ANSWERS, LABEL_SET)
    assert tables["sentiment, named pairs"]["accuracy"] == {"f1": 3 / 4, "support": 4}
    assert tables["sentiment, strict"]["accuracy"] == {"f1": 3 / 5, "support": 5}
    assert tables["sign, named pairs"]["accuracy"]["f1"] == 1
    assert tables["sign, strict"]["accuracy"]["f1"] == 4 / 5
    missed = tables["sentiment, strict"]["나쁨"]
    assert missed["recall"] == 1 / 2
    assert missed["precision"] == 1, "a pair that is not named is nobody's false alarm"


def test_pairs_ask_for_label_and_sentiment_at_once() -> None:
    row = answer_tables(REVIEWS, ANSWERS, LABEL_SET)["pairs with sentiment"]["micro avg"]
    assert row["precision"] == row["recall"] == 3 / 5
    assert row["f1"] == pytest.approx(3 / 5)


def test_perfect_and_silent_answers() -> None:
    tables = answer_tables(REVIEWS, [r.scores for r in REVIEWS], LABEL_SET)
    assert {table[row]["f1"] for table in tables.values() for row in table if row in ("accuracy", "micro avg")} == {1.0}
    silent = answer_tables(REVIEWS, [{}, {}, {}], LABEL_SET)
    assert "sentiment, named pairs" not in silent
    assert silent["sentiment, strict"]["accuracy"]["f1"] == silent["pairs with sentiment"]["micro avg"]["f1"] == 0


def test_marked_opinions_are_counted_by_sign_and_only_where_annotated() -> None:
    label_set = LabelSet(("핏", "색상", "배송"), "만족도", LABEL_SET.sentiments, LABEL_SET.sentiment_scores)
    signed = [review({"핏": 1}, graded=False, annotated=("핏", "색상"))]
    tables = answer_tables(signed, [{"핏": 2, "배송": 1}], label_set)
    assert list(tables) == [
        "keywords",
        "sign, named pairs",
        "sign, strict",
        "pairs with sign",
    ]
    assert "배송" not in tables["keywords"]
    assert tables["pairs with sign"]["micro avg"]["precision"] == 1, "배송 is unknown there, not wrong"
