"""Paired bootstrap over reviews: is a difference between two models larger than the choice of test reviews explains?

Both models are scored on the same resamples of the reviews, drawn with replacement (Efron & Tibshirani 1993, "An
Introduction to the Bootstrap", ch. 13; for models on one test set: Koehn 2004, "Statistical Significance Tests for
Machine Translation Evaluation"). Every metric is a function of counts that add up over reviews, so that a resample is
a row of weights and all of them are one matrix product.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
RESAMPLES_AT_ONCE = 250


@dataclass(frozen=True)
class Outcomes:
    """What a model got right and wrong of N reviews.

    ``keywords`` [N, K, 3] counts hits, false and missed keywords (0 or 1 each; all 0 where a keyword is not
    annotated). ``sentiments`` [N, S, S] counts tagged labels by true and predicted sentiment.
    """

    keywords: Floats
    sentiments: Floats

    def __len__(self) -> int:
        return len(self.keywords)


@dataclass(frozen=True)
class Difference:
    """A metric of champion and challenger, and of the difference (challenger - champion) what the bootstrap says.

    ``low`` and ``high`` bound the percentile interval of 95 %; ``better`` is the share of resamples in which the
    challenger is ahead, ties counting half.
    """

    champion: float
    challenger: float
    low: float
    high: float
    better: float

    @property
    def gain(self) -> float:
        return self.challenger - self.champion


def keyword_metrics(outcomes: Outcomes, weights: Floats) -> Floats:
    """Micro F1, macro F1 and the F1 of each keyword, ``[R, 2 + K]``, under ``weights`` of the reviews ``[R, N]``."""
    counts = _total(outcomes.keywords, weights)
    every = np.stack([_f1(counts.sum(1)), *_f1(counts).T], 1)
    return np.insert(every, 1, every[:, 1:].mean(1), 1)


def sentiment_metrics(outcomes: Outcomes, weights: Floats) -> Floats:
    """Accuracy and macro F1 of the sentiments, ``[R, 2]``, under ``weights`` of the reviews ``[R, N]``."""
    table = _total(outcomes.sentiments, weights)
    hits, true, predicted = np.diagonal(table, axis1=1, axis2=2), table.sum(2), table.sum(1)
    accuracy = _ratio(hits.sum(1), true.sum(1))
    macro = _f1(np.stack([hits, predicted - hits, true - hits], 2)).mean(1)
    return np.stack([accuracy, macro], 1)


def paired_bootstrap(champion: Outcomes, challenger: Outcomes, *, resamples: int, seed: int) -> list[Difference]:
    """The differences of micro F1, macro F1, sentiment accuracy, sentiment macro F1, and the F1 of each keyword.

    Classes without an example in a resample count with F1 0, for both models alike.
    """
    whole = np.ones((1, len(champion)))
    before, after = _metrics(champion, whole)[0], _metrics(challenger, whole)[0]
    gains = np.concatenate(
        [_metrics(challenger, w) - _metrics(champion, w) for w in _resamples(len(champion), resamples, seed)]
    )
    low, high = np.quantile(gains, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    better = (gains > 0).mean(0) + (gains == 0).mean(0) / 2
    return [Difference(*map(float, row)) for row in zip(before, after, low, high, better, strict=True)]


def _metrics(outcomes: Outcomes, weights: Floats) -> Floats:
    keywords, sentiments = keyword_metrics(outcomes, weights), sentiment_metrics(outcomes, weights)
    return np.concatenate([keywords[:, :2], sentiments, keywords[:, 2:]], 1)


def _resamples(reviews: int, count: int, seed: int) -> Iterator[Floats]:
    """How often each review is drawn, FP64 ``[R, N]``, in pieces that together have ``count`` rows."""
    random = np.random.default_rng(seed)
    chances = np.full(reviews, 1 / reviews)
    for start in range(0, count, RESAMPLES_AT_ONCE):
        rows = min(RESAMPLES_AT_ONCE, count - start)
        yield random.multinomial(reviews, chances, size=rows).astype(np.float64)


def _total(counts: Floats, weights: Floats) -> Floats:
    """``counts`` [N, ...] summed under ``weights`` [R, N]: [R, ...]."""
    total: Floats = (weights @ counts.reshape(len(counts), -1)).reshape(-1, *counts.shape[1:])
    return total


def _f1(counts: Floats) -> Floats:
    """F1 of hits, false and missed [..., 3]; 0 where there is none of them."""
    return _ratio(2 * counts[..., 0], 2 * counts[..., 0] + counts[..., 1] + counts[..., 2])


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
