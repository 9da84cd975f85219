"""Likely label errors by confident learning, keyword by keyword (Northcutt et al. 2021, arXiv:1911.00068; cleanlab).

For every keyword cleanlab estimates from the out-of-fold probabilities how many tags are wrong and how many are
missing, and picks the labels that disagree most with the model. A keyword is judged on the reviews whose source
annotates it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class
from cleanlab.multilabel_classification.rank import get_label_quality_scores_per_class
from numpy.typing import NDArray

from training.data import LabelledReview, LabelSet

log = logging.getLogger("audit")

Filter = Literal["prune_by_noise_rate", "prune_by_class", "both", "confident_learning", "predicted_neq_given"]


@dataclass(frozen=True)
class LikelyErrors:
    """``flagged``, bool ``[N, K]``: labels to look at. ``quality``, FP32 ``[N, K]``: how sure the model is that the
    label is right, from 0; NaN where it does not judge."""

    flagged: NDArray[np.bool_]
    quality: NDArray[np.float32]


def label_matrix(reviews: Sequence[LabelledReview], label_set: LabelSet) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which keywords are tagged, and which the source annotates, each bool ``[N, K]``."""
    shape = (len(reviews), len(label_set.keywords))
    tagged = [[name in review.scores for name in label_set.keywords] for review in reviews]
    known = [[name in review.annotated for name in label_set.keywords] for review in reviews]
    return np.array(tagged, bool).reshape(shape), np.array(known, bool).reshape(shape)


def agreement(tagged: NDArray[np.bool_], known: NDArray[np.bool_], probabilities: NDArray[np.float32]) -> float:
    """Micro F1 of the model against the labels as given, at 0.5; the arrays are ``[N, K]``.

    A model that hardly finds the labels finds no errors in them either.
    """
    judged = known & ~np.isnan(probabilities)
    named = judged & (probabilities >= 0.5)
    given = judged & tagged
    return float(2 * (named & given).sum() / max(int(named.sum() + given.sum()), 1))


def likely_errors(
    tagged: NDArray[np.bool_],
    known: NDArray[np.bool_],
    probabilities: NDArray[np.float32],
    keywords: Sequence[str],
    filter_by: Filter = "prune_by_noise_rate",
) -> LikelyErrors:
    """Judge every label; the arrays are ``[N, K]``, probabilities NaN where there are none.

    A keyword that all or none of the reviews carry cannot be judged: nothing tells the model what the other is like.
    """
    flagged = np.zeros(tagged.shape, bool)
    quality = np.full(tagged.shape, np.nan, np.float32)
    judged = known & ~np.isnan(probabilities)
    for k, keyword in enumerate(keywords):
        rows = np.flatnonzero(judged[:, k])
        given = tagged[rows, k]
        if given.all() or not given.any():
            log.warning("%s: tagged in %d of %d reviews: not judged", keyword, given.sum(), len(rows))
            continue
        labels = [[0] if value else [] for value in given]
        column = probabilities[rows, k][:, None]
        # One process: cleanlab would fork, and torch's threads do not survive that.
        flagged[rows, k] = find_multilabel_issues_per_class(labels, column, filter_by=filter_by, n_jobs=1)[:, 0]
        quality[rows, k] = get_label_quality_scores_per_class(labels, column)[:, 0]
    return LikelyErrors(flagged, quality)
