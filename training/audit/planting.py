"""Known label errors, planted in a copy of the data, and how well they were found."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from client.errors import InvalidInputError
from training.data import LabelledReview


@dataclass(frozen=True)
class Planted:
    """The reviews with the errors in them, and in which they are: bool ``[N]``."""

    reviews: list[LabelledReview]
    wrong: NDArray[np.bool_]


def plant(
    reviews: Sequence[LabelledReview], keyword: str, share: float, score: int, seed: int, where: str | None = None
) -> Planted:
    """Tag ``share`` of all reviews with a ``keyword`` that they do not carry.

    Without ``where`` the reviews are drawn from all that lack the keyword: slips of the hand. With it, from those in
    which the regular expression is found: a guideline that someone misread, the same way every time.

    Raises:
        InvalidInputError: ``where`` is no regular expression, or too few reviews lack the keyword.
    """
    try:
        pattern = re.compile(where or "")
    except re.error as error:
        raise InvalidInputError(f"--where {where!r} is not a regular expression: {error}") from None
    rows = [
        i
        for i, review in enumerate(reviews)
        if keyword in review.annotated and keyword not in review.scores and pattern.search(review.text)
    ]
    count = round(share * len(reviews))
    if not 0 < count <= len(rows):
        raise InvalidInputError(
            f"--share {share}: {count} errors cannot be planted: {len(rows)} of {len(reviews)} reviews qualify"
        )
    wrong = np.zeros(len(reviews), bool)
    wrong[np.random.default_rng(seed).choice(rows, count, replace=False)] = True
    planted = [
        replace(review, scores={**review.scores, keyword: score}) if is_wrong else review
        for review, is_wrong in zip(reviews, wrong, strict=True)
    ]
    return Planted(planted, wrong)


@dataclass(frozen=True)
class Found:
    """How well planted errors were found among the tagged reviews.

    ``precision`` and ``recall`` of what is ``flagged``; ``precision_at`` the number of planted errors and
    ``average_precision`` of the ranking. Errors that stood in the data before are counted as false alarms.
    """

    planted: int
    flagged: int
    precision: float
    recall: float
    precision_at_planted: float
    average_precision: float


def score_search(wrong: NDArray[np.bool_], flagged: NDArray[np.bool_], suspicion: NDArray[np.float64]) -> Found:
    """Compare a search with the truth, each array ``[T]`` of the reviews that are tagged.

    ``suspicion`` ranks them, the most suspicious highest.
    """
    hits = int((wrong & flagged).sum())
    top = np.argsort(-suspicion, kind="stable")[: wrong.sum()]
    return Found(
        planted=int(wrong.sum()),
        flagged=int(flagged.sum()),
        precision=hits / max(int(flagged.sum()), 1),
        recall=hits / max(int(wrong.sum()), 1),
        precision_at_planted=float(wrong[top].mean()),
        average_precision=float(average_precision_score(wrong, suspicion)),
    )
