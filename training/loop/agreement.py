"""How far labellers agree, where two or more labelled the same reviews."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import cohen_kappa_score

from training.data import LabelSet

# Of one review: scores by label, by labeller.
Labelled = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Agreement:
    """``kappa`` is 1 for full agreement and 0 for what chance gives; None where all said the same of every review.

    ``share`` is the plain share of agreement, and ``count`` how many times two labellers decided the same thing.
    """

    kappa: float | None
    share: float
    count: int


def keyword_agreement(reviews: Sequence[Labelled], label_set: LabelSet) -> dict[str, Agreement]:
    """Agreement on whether a review is tagged with a keyword; empty where no review has two labellers.

    Of two labellers it is Cohen's kappa (1960); of more, the mean over the pairs of labellers, weighted by the reviews
    that they share (Light 1971).
    """
    found = {
        name: _agreement([{who: int(name in scores) for who, scores in review.items()} for review in reviews], (0, 1))
        for name in label_set.keywords
    }
    return {name: agreement for name, agreement in found.items() if agreement is not None}


def sentiment_agreement(reviews: Sequence[Labelled], label_set: LabelSet) -> Agreement | None:
    """Agreement on the scores of what both tagged: kappa weighted by squared distance (Cohen 1968)."""
    decisions = [
        {who: scores[name] for who, scores in review.items() if name in scores}
        for review in reviews
        for name in label_set.all_labels
    ]
    return _agreement(decisions, label_set.sentiment_scores, weights="quadratic")


def _agreement(
    decisions: Sequence[Mapping[str, int]], classes: Sequence[int], weights: str | None = None
) -> Agreement | None:
    """Agreement of every pair of labellers on the decisions that both took; None where there is no such decision."""
    pairs: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for decision in decisions:
        for first, second in itertools.combinations(sorted(decision), 2):
            pairs.setdefault((first, second), []).append((decision[first], decision[second]))
    if not pairs:
        return None
    counts = [len(pair) for pair in pairs.values()]
    same = sum(left == right for pair in pairs.values() for left, right in pair)
    kappas = [
        (cohen_kappa_score(*zip(*pair, strict=True), labels=list(classes), weights=weights), len(pair))
        for pair in pairs.values()
        # Kappa is 0/0 where both always say one and the same.
        if len({value for both in pair for value in both}) > 1
    ]
    kappa = float(np.average([k for k, _ in kappas], weights=[n for _, n in kappas])) if kappas else None
    return Agreement(kappa, same / sum(counts), sum(counts))
