"""The same tables for whatever answers: a generator, or the two classifiers that it is compared with.

An answer maps labels to scores, for one review. Keywords are counted as ``training.evaluate`` counts them. Sentiments
are counted over the (review, label) pairs that are tagged, in two ways:

- *named pairs*: only pairs whose label the answer names, which flatters whoever names only what is plain;
- *strict*: every tagged pair; one whose label is not named is wrong.

*Pairs with sentiment* asks for both at once: a pair is found if label and sentiment are right, missed if either is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from training.data import LabelledReview, LabelSet
from training.metrics import Table, multi_label_table, single_label_table

Answer = Mapping[str, int]
SIGNS = ("-", "0", "+")
NOT_NAMED = -1


def answer_tables(
    reviews: Sequence[LabelledReview], answers: Sequence[Answer], label_set: LabelSet
) -> dict[str, Table]:
    """Tables by title. Those of all sentiments are there only if every review tells the strength of its opinions."""
    tables = {"keywords": keyword_table(reviews, answers, label_set)}
    if all(review.graded for review in reviews):
        tables |= _sentiment_tables(
            reviews, answers, "sentiment", label_set.sentiment_scores.index, label_set.sentiments
        )
    return tables | _sentiment_tables(reviews, answers, "sign", lambda score: int(np.sign(score)) + 1, SIGNS)


def keyword_table(reviews: Sequence[LabelledReview], answers: Sequence[Answer], label_set: LabelSet) -> Table:
    """Keywords that every review's source annotates, named against tagged."""
    names = [name for name in label_set.keywords if all(name in review.annotated for review in reviews)]
    tagged = np.array([[name in review.scores for name in names] for review in reviews])
    named = np.array([[name in answer for name in names] for answer in answers])
    return multi_label_table(tagged, named, names)


def _sentiment_tables(
    reviews: Sequence[LabelledReview],
    answers: Sequence[Answer],
    title: str,
    class_of: Callable[[int], int],
    names: Sequence[str],
) -> dict[str, Table]:
    pairs = [
        (class_of(score), class_of(answer[name]) if name in answer else NOT_NAMED)
        for review, answer in zip(reviews, answers, strict=True)
        for name, score in review.scores.items()
    ]
    true, said = np.array(pairs, np.int64).reshape(-1, 2).T
    extra = sum(
        name in review.annotated and name not in review.scores
        for review, answer in zip(reviews, answers, strict=True)
        for name in answer
    )
    kept = said != NOT_NAMED
    tables = {f"{title}, named pairs": (true[kept], said[kept]), f"{title}, strict": (true, said)}
    return {name: single_label_table(*columns, names) for name, columns in tables.items() if len(columns[0])} | {
        f"pairs with {title}": {"micro avg": _pair_row(true, said, extra)}
    }


def _pair_row(true: NDArray[np.int64], said: NDArray[np.int64], extra: int) -> dict[str, float]:
    """``extra`` counts named labels that are not tagged."""
    right = int((true == said).sum())
    named = int((said != NOT_NAMED).sum()) + extra
    return {
        "precision": right / max(named, 1),
        "recall": right / max(len(true), 1),
        "f1": 2 * right / max(named + len(true), 1),
        "support": float(len(true)),
    }
