"""The labelled reviews that compression learns from, calibrates with and measures on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from client.errors import InvalidInputError
from training.checks import check_reviews
from training.data import LabelledReview, LabelSet, read_labelled
from training.examples import merge_sources, split_reviews

SEED = 1


@dataclass(frozen=True)
class Reviews:
    """Labelled reviews: ``train`` teaches what to drop and to distil, ``validation`` calibrates, ``test`` measures.

    ``test`` and ``validation`` hold graded reviews only, in which a sentiment has five levels.
    """

    label_set: LabelSet
    train: list[LabelledReview]
    validation: list[LabelledReview]
    test: list[LabelledReview]

    @classmethod
    def load(cls, files: Sequence[Path], label_set: LabelSet) -> Reviews:
        """Read files of labelled reviews.

        Raises:
            InvalidInputError: a file cannot be read, or a split is empty.
        """
        checked = check_reviews((review for file in files for review in read_labelled(file, label_set)), label_set)
        splits = split_reviews(merge_sources(checked.kept))
        graded = {name: [review for review in splits[name] if review.graded] for name in ("validation", "test")}
        if empty := [name for name, part in {"train": splits["train"], **graded}.items() if not part]:
            raise InvalidInputError(
                f"--data: no review with graded labels for {' and '.join(empty)}; bring at least 100 of them"
            )
        return cls(label_set, splits["train"], graded["validation"], graded["test"])

    def sample(self, count: int) -> list[LabelledReview]:
        """Training reviews to look at; graded ones where there are any."""
        pool = [review for review in self.train if review.graded] or self.train
        return [pool[i] for i in np.random.default_rng(SEED).permutation(len(pool))[:count]]
