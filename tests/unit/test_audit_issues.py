"""Likely errors and the ranked issues, on probabilities made here: which labels are suspected, and in which order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from client.errors import InvalidInputError
from training.audit.decisions import Decision, Decisions
from training.audit.issues import find_issues, summarize
from training.audit.likely_errors import Filter, agreement, label_matrix, likely_errors
from training.audit.out_of_fold import fold_of
from training.audit.planting import plant, score_search
from training.audit.rules import Rule, load_rules
from training.data import LabelledReview, LabelSet

FASHION = LabelSet.load(Path("training/label_sets/fashion.json"))
STRETCH, COLOUR = FASHION.keywords.index("신축성"), FASHION.keywords.index("색상")
REVIEWS = 300


def review(number: int, text: str, *keywords: str) -> LabelledReview:
    scores = dict.fromkeys([*keywords, "만족도"], 1)
    return LabelledReview(str(number), text, scores, True, frozenset(FASHION.all_labels))


@pytest.fixture
def reviews() -> list[LabelledReview]:
    """A third speaks of stretch, a third of colour, and each says so in words that the rules know."""
    texts = (("스판이 있어요", "신축성"), ("색이 고와요", "색상"), ("그냥 그래요",))
    return [review(i, f"{i}번째 구매, {texts[i % 3][0]}", *texts[i % 3][1:]) for i in range(REVIEWS)]


@pytest.fixture
def probabilities(reviews: list[LabelledReview]) -> NDArray[np.float32]:
    """A model that is right and fairly sure."""
    tagged, _ = label_matrix(reviews, FASHION)
    noise = np.random.default_rng(1).uniform(0, 0.2, tagged.shape)
    return np.where(tagged, 1 - noise, noise).astype(np.float32)


def retag(target: LabelledReview, *keywords: str) -> LabelledReview:
    return review(int(target.id), target.text, *keywords)


def test_wrong_and_missing_labels_are_flagged(
    reviews: list[LabelledReview], probabilities: NDArray[np.float32]
) -> None:
    for i in (4, 13, 22):  # speak of colour: a stretch that is wrong
        reviews[i] = retag(reviews[i], "색상", "신축성")
    for i in (0, 9):  # speak of stretch: it is missing
        reviews[i] = retag(reviews[i])
    probabilities[[4, 13, 22], STRETCH] = 0.01
    probabilities[[0, 9], STRETCH] = 0.99
    tagged, known = label_matrix(reviews, FASHION)
    errors = likely_errors(tagged, known, probabilities, FASHION.keywords)
    assert set(np.flatnonzero(errors.flagged[:, STRETCH])) == {0, 4, 9, 13, 22}
    assert not errors.flagged[:, COLOUR].any()
    assert set(np.argsort(errors.quality[:, STRETCH])[:5]) == {0, 4, 9, 13, 22}


@pytest.mark.parametrize("filter_by", ["prune_by_class", "both", "confident_learning", "predicted_neq_given"])
def test_every_filter_finds_a_plain_error(
    reviews: list[LabelledReview], probabilities: NDArray[np.float32], filter_by: Filter
) -> None:
    for i in (4, 13, 22):
        reviews[i] = retag(reviews[i], "색상", "신축성")
    probabilities[[4, 13, 22], STRETCH] = 0.01
    tagged, known = label_matrix(reviews, FASHION)
    flagged = likely_errors(tagged, known, probabilities, FASHION.keywords, filter_by).flagged
    assert set(np.flatnonzero(flagged[:, STRETCH])) == {4, 13, 22}


def test_unknown_labels_and_texts_without_probability_are_not_judged(
    reviews: list[LabelledReview], probabilities: NDArray[np.float32]
) -> None:
    half = frozenset(FASHION.all_labels) - {"신축성"}
    for i in (0, 9):  # missing, but in a source that does not annotate it
        reviews[i] = LabelledReview(str(i), reviews[i].text, {"만족도": 1}, False, half)
    reviews[4] = retag(reviews[4], "색상", "신축성")
    probabilities[4] = np.nan
    tagged, known = label_matrix(reviews, FASHION)
    errors = likely_errors(tagged, known, probabilities, FASHION.keywords)
    assert not errors.flagged.any()
    assert np.isnan(errors.quality[[0, 4, 9], STRETCH]).all()


def test_agreement_is_micro_f1_of_what_is_judged() -> None:
    tagged = np.array([[1, 0], [1, 1], [0, 1]], bool)
    known = np.array([[1, 1], [1, 1], [1, 0]], bool)
    probabilities = np.array([[0.9, 0.7], [0.1, 0.5], [np.nan, 0.9]], np.float32)
    # Found are 1-1, 1-2 and 2-2, tagged 1-1, 2-1 and 2-2; the third review is not judged.
    assert agreement(tagged, known, probabilities) == pytest.approx(2 * 2 / (3 + 3))
    assert agreement(tagged, known & False, probabilities) == 0


def test_a_keyword_without_both_kinds_is_not_judged(
    reviews: list[LabelledReview], probabilities: NDArray[np.float32], caplog: pytest.LogCaptureFixture
) -> None:
    tagged, known = label_matrix(reviews, FASHION)
    errors = likely_errors(tagged, known, probabilities, FASHION.keywords)
    assert np.isnan(errors.quality[:, FASHION.keywords.index("배송")]).all()
    assert f"배송: tagged in 0 of {REVIEWS} reviews: not judged" in caplog.text


@pytest.fixture(scope="module")
def rules() -> tuple[Rule, ...]:
    return load_rules(Path("training/label_sets/fashion_rules.json"), FASHION)


def test_issues_are_ranked_and_say_why(
    reviews: list[LabelledReview], probabilities: NDArray[np.float32], rules: tuple[Rule, ...]
) -> None:
    reviews[4] = retag(reviews[4], "색상", "신축성")  # model and rule
    reviews[7] = review(7, "허리가 편하고 색이 고와요", "색상", "신축성")  # the model alone
    reviews[2] = review(2, "천이 짱짱해요", "신축성")  # model and rule, to be moved
    reviews[3] = review(3, "보풀이 생겼어요", "신축성", "색상")  # rules miss 품질 and words of the other two
    probabilities[3, [STRETCH, COLOUR]] = 0.95
    probabilities[[4, 7], STRETCH] = 0.02, 0.01
    probabilities[2, STRETCH] = 0.05
    tagged, known = label_matrix(reviews, FASHION)
    errors = likely_errors(tagged, known, probabilities, FASHION.keywords)
    issues = find_issues(reviews, FASHION, probabilities, errors, rules, Decisions({}))
    found = [(i.review.id, i.keyword, i.action, i.suggestion, sorted(i.found_by)) for i in issues]
    assert found[:4] == [
        ("4", "신축성", "remove", None, ["model", "rule"]),
        ("2", "신축성", "remove", "품질", ["model", "rule"]),
        ("3", "품질", "add", None, ["rule"]),  # no review carries 품질: the model cannot judge it
        ("7", "신축성", "remove", None, ["model"]),
    ]
    assert {row[:3] for row in found[4:]} == {
        ("3", "신축성", "remove"),
        ("3", "색상", "remove"),
    }, "what the model finds right comes last"
    assert issues[0].probability == pytest.approx(0.02)
    assert "probability of 0.02" in issues[0].why[-1]
    start, end = issues[1].spans[0]
    assert issues[1].review.text[start:end] == "짱짱"
    decided = Decisions.of([Decision(reviews[4].text, "신축성", "keep")])
    asked = find_issues(reviews, FASHION, probabilities, errors, rules, decided)
    assert [i for i in issues if i not in asked] == issues[:1], "what was decided on is not asked again"


def test_the_summary_counts_by_keyword(
    reviews: list[LabelledReview], probabilities: NDArray[np.float32], rules: tuple[Rule, ...]
) -> None:
    reviews[4] = retag(reviews[4], "색상", "신축성")
    reviews[0] = retag(reviews[0])
    tagged, known = label_matrix(reviews, FASHION)
    errors = likely_errors(tagged, known, probabilities, FASHION.keywords)
    issues = find_issues(reviews, FASHION, probabilities, errors, rules, Decisions({}))
    rows = {row.keyword: row for row in summarize(reviews, FASHION, issues)}
    assert list(rows) == list(FASHION.all_labels)
    stretch = rows["신축성"]
    assert (stretch.reviews, stretch.support, stretch.wrong, stretch.missing, stretch.by_rules) == (300, 100, 1, 1, 1)
    assert stretch.share_of_tagged_wrong == pytest.approx(0.01)
    assert stretch.share_of_reviews_suspected == pytest.approx(2 / 300, abs=1e-4)
    assert (rows["배송"].support, rows["배송"].share_of_tagged_wrong) == (0, 0.0)


def test_twins_share_a_fold() -> None:
    texts = [f"{i}번째 구매예요 Size M" for i in range(2000)]
    folds = [fold_of(text, 5, 1) for text in texts]
    assert folds == [fold_of(text.upper().replace(" ", ""), 5, 1) for text in texts]
    assert min(np.bincount(folds, minlength=5)) > 320
    assert folds != [fold_of(text, 5, 2) for text in texts], "another seed, other folds"


def test_planted_errors_are_wrong_labels(reviews: list[LabelledReview]) -> None:
    planted = plant(reviews, "신축성", 0.04, -1, seed=3)
    assert planted.wrong.sum() == 12
    for before, after, wrong in zip(reviews, planted.reviews, planted.wrong, strict=True):
        assert dict(after.scores) == {**before.scores, **({"신축성": -1} if wrong else {})}
        assert not (wrong and "신축성" in before.scores)
    assert (planted.wrong == plant(reviews, "신축성", 0.04, -1, seed=3).wrong).all()
    assert (planted.wrong != plant(reviews, "신축성", 0.04, -1, seed=4).wrong).any()
    misread = plant(reviews, "신축성", 0.04, 1, seed=3, where="색이")
    assert all("색이" in reviews[i].text for i in np.flatnonzero(misread.wrong))
    for share, where, told in ((0.9, None, "200 of 300 reviews qualify"), (0.0, None, "0 errors"), (0.1, "(", "no")):
        with pytest.raises(InvalidInputError, match=told if where is None else "not a regular expression"):
            plant(reviews, "신축성", share, 1, 1, where)


def test_a_search_is_scored_by_hand() -> None:
    wrong = np.array([1, 1, 0, 0, 0], bool)
    flagged = np.array([1, 0, 1, 0, 0], bool)
    found = score_search(wrong, flagged, np.array([0.9, 0.2, 0.8, 0.1, 0.0]))
    assert (found.planted, found.flagged, found.precision, found.recall) == (2, 2, 0.5, 0.5)
    assert found.precision_at_planted == 0.5
    assert found.average_precision == pytest.approx((1 + 2 / 3) / 2)
    nothing = score_search(wrong, np.zeros(5, bool), np.zeros(5))
    assert (nothing.precision, nothing.recall) == (0.0, 0.0)
