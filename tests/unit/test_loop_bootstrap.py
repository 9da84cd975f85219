"""The paired bootstrap: its metrics are scikit-learn's, its intervals cover the truth as often as they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from client.errors import InvalidInputError
from training.loop.bootstrap import Difference, Outcomes, keyword_metrics, paired_bootstrap, sentiment_metrics
from training.loop.decision import METRICS, Rule, decide, measurable

KEYWORDS, SENTIMENTS = 3, 5


def outcomes(true: NDArray[np.bool_], found: NDArray[np.bool_], sentiments: NDArray[np.int64]) -> Outcomes:
    """Of ``true`` and ``found`` [N, K] and ``sentiments`` [N, 2]: one tagged label a review, true and predicted."""
    table = np.zeros((len(true), SENTIMENTS, SENTIMENTS))
    table[np.arange(len(true)), sentiments[:, 0], sentiments[:, 1]] = 1
    return Outcomes(np.stack([true & found, ~true & found, true & ~found], 2).astype(np.float64), table)


def model(true: NDArray[np.bool_], right: float, random: np.random.Generator) -> NDArray[np.bool_]:
    """What a model finds that decides each keyword rightly with this probability."""
    return true ^ (random.random(true.shape) >= right)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_metrics_under_weights_are_those_of_the_repeated_reviews(seed: int, reviews: int) -> None:
    random = np.random.default_rng(seed)
    true, found = random.random((2, reviews, KEYWORDS)) < 0.4
    sentiments = random.integers(0, SENTIMENTS, (reviews, 2))
    weights = random.integers(0, 3, reviews)
    weights[0] += 1
    got = outcomes(true, found, sentiments)
    micro, macro, *each = keyword_metrics(got, weights[None].astype(float))[0]
    accuracy, sentiment_macro = sentiment_metrics(got, weights[None].astype(float))[0]
    rows = np.repeat(np.arange(reviews), weights)
    assert micro == pytest.approx(f1_score(true[rows], found[rows], average="micro", zero_division=0))
    assert macro == pytest.approx(f1_score(true[rows], found[rows], average="macro", zero_division=0))
    assert each == pytest.approx(f1_score(true[rows], found[rows], average=None, zero_division=0).tolist())
    said, chosen = sentiments[rows].T
    assert accuracy == pytest.approx(np.mean(said == chosen))
    classes = list(range(SENTIMENTS))
    assert sentiment_macro == pytest.approx(f1_score(said, chosen, labels=classes, average="macro", zero_division=0))


@pytest.mark.parametrize(("better", "truth"), [(0.85, 0.0), (0.9, None)])
def test_intervals_cover_the_true_difference(better: float, truth: float | None) -> None:
    """In 200 simulated comparisons, 95 % intervals miss the true difference about 10 times (sd 3.1)."""
    random = np.random.default_rng(3)

    def both(reviews: int) -> tuple[Outcomes, Outcomes]:
        true = random.random((reviews, KEYWORDS)) < 0.3
        sentiments = np.zeros((reviews, 2), np.int64)
        return outcomes(true, model(true, 0.85, random), sentiments), outcomes(
            true, model(true, better, random), sentiments
        )

    if truth is None:
        many, whole = both(300_000), np.ones((1, 300_000))
        truth = float(keyword_metrics(many[1], whole)[0, 0] - keyword_metrics(many[0], whole)[0, 0])
        assert truth > 0.05
    found = [paired_bootstrap(*both(250), resamples=250, seed=number)[0] for number in range(200)]
    missed = sum(not d.low <= truth <= d.high for d in found)
    assert 2 <= missed <= 20
    if truth == 0:
        assert sum(d.low > 0 for d in found) <= 12, "of equal models, one in forty is taken for better"
        assert 0.4 < np.mean([d.better for d in found]) < 0.6


def test_pairing_finds_small_differences_that_two_separate_samples_would_not() -> None:
    """A challenger that is right wherever the champion is, and in two cases more."""
    random = np.random.default_rng(5)
    true = random.random((400, KEYWORDS)) < 0.3
    found = model(true, 0.85, random)
    improved = found.copy()
    wrong = np.argwhere(found != true)[:8]
    improved[tuple(wrong.T)] ^= True
    sentiments = np.zeros((400, 2), np.int64)
    champion, challenger = (outcomes(true, said, sentiments) for said in (found, improved))
    difference = paired_bootstrap(champion, challenger, resamples=1000, seed=1)[0]
    alone = keyword_metrics(champion, random.multinomial(400, np.full(400, 1 / 400), 1000).astype(float))[:, 0].std()
    assert difference.low > 0
    assert difference.better > 0.99
    assert difference.gain < 1.96 * alone, "which the spread of one model alone would hide"


def test_a_model_against_itself() -> None:
    random = np.random.default_rng(1)
    true = random.random((50, KEYWORDS)) < 0.3
    same = outcomes(true, model(true, 0.8, random), np.zeros((50, 2), np.int64))
    for difference in paired_bootstrap(same, same, resamples=1000, seed=1):
        assert (difference.low, difference.gain, difference.high, difference.better) == (0, 0, 0, 0.5)


def test_seed_decides_the_resamples() -> None:
    random = np.random.default_rng(1)
    true = random.random((50, KEYWORDS)) < 0.3
    one, other = (outcomes(true, model(true, p, random), np.zeros((50, 2), np.int64)) for p in (0.7, 0.8))
    first, again, another = (paired_bootstrap(one, other, resamples=1000, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first[0].low != another[0].low


def difference(gain: float, low: float) -> Difference:
    return Difference(0.8, 0.8 + gain, low, 2 * gain - low, 0.9)


@pytest.mark.parametrize(
    ("primary", "other", "promoted"),
    [
        (difference(0.02, 0.001), difference(0.0, -0.01), True),
        (difference(0.02, 0.001), difference(-0.009, -0.03), True),
        (difference(0.02, 0.0), difference(0.05, 0.01), False),
        (difference(0.02, -0.001), difference(0.05, 0.01), False),
        (difference(0.02, 0.001), difference(-0.011, -0.03), False),
    ],
)
def test_rule(primary: Difference, other: Difference, promoted: bool) -> None:
    decision = decide({"keyword micro F1": primary, "sentiment accuracy": other}, Rule(tolerance=0.01))
    assert decision.promote is promoted
    told = "\n".join(decision.reasons)
    assert ("not better beyond noise" in told) is (primary.low <= 0)
    assert ("a fall of more than" in told) is (other.gain < -0.01)


def test_sentiments_take_as_many_reviews_as_any_comparison() -> None:
    assert measurable(29) == ("keyword micro F1", "keyword macro F1")
    assert measurable(30) == METRICS


def test_rule_needs_its_metric() -> None:
    with pytest.raises(InvalidInputError, match="sentiment accuracy: fewer than 30 held-out reviews"):
        decide({"keyword micro F1": difference(0.1, 0.05)}, Rule("sentiment accuracy"))
    with pytest.raises(InvalidInputError, match="--primary"):
        Rule("accuracy")
    with pytest.raises(InvalidInputError, match="--tolerance"):
        Rule(tolerance=-0.1)
