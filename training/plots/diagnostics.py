"""The figures behind the plots: precision and recall over thresholds, confusion, calibration error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, confusion_matrix, precision_recall_curve

from training.predictions import Predictions

SIGN_NAMES = ("-", "0", "+")
BINS = 10

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class KeywordCurve:
    """Precision and recall of one keyword over all thresholds, recall falling, and at the threshold that is used.

    ``average_precision`` is the mean precision over the steps of recall. ``support`` reviews are tagged with it.
    """

    keyword: str
    support: int
    precision: Floats
    recall: Floats
    average_precision: float
    threshold: float
    precision_at: float
    recall_at: float


@dataclass(frozen=True)
class Confusion:
    """``counts`` INT64 ``[C, C]``: true class by row, predicted by column; ``shares`` are of the row's sum."""

    names: tuple[str, ...]
    counts: NDArray[np.int64]

    @property
    def shares(self) -> Floats:
        return np.asarray(self.counts / np.maximum(self.counts.sum(1, keepdims=True), 1))


@dataclass(frozen=True)
class Reliability:
    """How often what was told with a probability is so, in equal bins of the probability; empty bins are left out.

    ``told`` is the mean probability of a bin, ``happened`` the share that was so, ``counts`` its size.
    """

    told: Floats
    happened: Floats
    counts: NDArray[np.int64]

    @property
    def expected_calibration_error(self) -> float:
        """Mean of |told - happened| over bins, weighted by size (Guo et al. 2017, arXiv:1706.04599)."""
        return float((np.abs(self.told - self.happened) * self.counts).sum() / self.counts.sum())


def keyword_truth(predictions: Predictions) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """``tagged`` and ``known``, both BOOL ``[N, K]``: what a source does not annotate is not known."""
    keywords = predictions.labels.keywords
    tagged = np.array([[name in review.scores for name in keywords] for review in predictions.reviews])
    known = np.array([[name in review.annotated for name in keywords] for review in predictions.reviews])
    return tagged, known


def keyword_curves(predictions: Predictions) -> list[KeywordCurve]:
    """A curve for each keyword that some review is tagged with."""
    tagged, known = keyword_truth(predictions)
    curves = []
    for k, (keyword, threshold) in enumerate(
        zip(predictions.labels.keywords, predictions.labels.thresholds, strict=True)
    ):
        true, probs = tagged[known[:, k], k], predictions.keyword_probs[known[:, k], k]
        if not true.any():
            continue
        precision, recall, _ = precision_recall_curve(true, probs, drop_intermediate=True)
        found = probs >= threshold
        hits = int((found & true).sum())
        curves.append(
            KeywordCurve(
                keyword,
                int(true.sum()),
                precision,
                recall,
                float(average_precision_score(true, probs)),
                threshold,
                # Nothing found is nothing wrong: where the curve itself ends.
                hits / int(found.sum()) if found.any() else 1.0,
                hits / int(true.sum()),
            )
        )
    return curves


def sentiment_pairs(predictions: Predictions) -> tuple[tuple[str, ...], NDArray[np.int64], Floats]:
    """Class names, true classes ``[P]`` and probabilities ``[P, C]`` of every tagged (review, label) pair.

    The classes are the sentiments, or the three signs if the strength of some review's opinions is not known.
    """
    labels = predictions.labels
    graded = all(review.graded for review in predictions.reviews)
    classes = np.arange(len(labels.sentiments)) if graded else np.sign(labels.sentiment_scores) + 1
    class_of = dict(zip(labels.sentiment_scores, classes.tolist(), strict=True))
    names = labels.sentiments if graded else SIGN_NAMES
    members = (classes[:, None] == np.arange(len(names))).astype(np.float64)
    rows = [
        (class_of[score], predictions.sentiment_probs[i, labels.all_labels.index(name)])
        for i, review in enumerate(predictions.reviews)
        for name, score in review.scores.items()
    ]
    true = np.array([row[0] for row in rows], np.int64)
    return names, true, np.array([row[1] for row in rows], np.float64).reshape(-1, len(labels.sentiments)) @ members


def sentiment_confusion(predictions: Predictions) -> Confusion:
    """Tagged pairs, true sentiment against the most probable one."""
    names, true, probs = sentiment_pairs(predictions)
    return Confusion(names, confusion_matrix(true, probs.argmax(1), labels=range(len(names))))


def keyword_reliability(predictions: Predictions) -> Reliability:
    """Of all known (review, keyword) pairs: the keyword's probability against whether it is tagged."""
    tagged, known = keyword_truth(predictions)
    return reliability(predictions.keyword_probs[known], tagged[known])


def sentiment_reliability(predictions: Predictions) -> Reliability:
    """Of all tagged pairs: the probability of the most probable sentiment against whether it is right."""
    _, true, probs = sentiment_pairs(predictions)
    return reliability(probs.max(1), probs.argmax(1) == true)


def reliability(told: NDArray[Any], happened: NDArray[np.bool_], bins: int = BINS) -> Reliability:
    """Bin probabilities ``[P]`` of 0 to 1; a bin holds its upper edge, the first also 0."""
    told = np.asarray(told, np.float64)
    column = np.clip(np.ceil(told * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(column, minlength=bins)
    kept = counts > 0
    sums = [np.bincount(column, values, bins)[kept] for values in (told, happened.astype(np.float64))]
    return Reliability(sums[0] / counts[kept], sums[1] / counts[kept], counts[kept])
