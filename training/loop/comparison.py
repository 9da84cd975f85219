"""Champion and challenger on the same held-out reviews."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from client.errors import ArtifactError, InvalidInputError
from client.served import served_artifact_folder
from training.checks import check_reviews
from training.corpus import split_of
from training.data import LabelledReview, LabelSet, read_labelled
from training.examples import merge_sources
from training.loop.bootstrap import Difference, Outcomes, paired_bootstrap
from training.loop.decision import FEWEST_REVIEWS, METRICS, measurable
from training.predictions import Predictions, predict_repository

log = logging.getLogger("loop")

FEWEST_RESAMPLES = 1000


@dataclass(frozen=True)
class Comparison:
    """``champion`` and ``challenger`` are model versions; ``data_sha256`` is of the texts and labels compared on.

    ``graded`` is how many of the ``reviews`` have labels of five levels: sentiments are compared on these alone, and
    not at all where they are fewer than ``FEWEST_REVIEWS``.
    """

    champion: str
    challenger: str
    files: tuple[str, ...]
    reviews: int
    graded: int
    data_sha256: str
    resamples: int
    seed: int
    metrics: Mapping[str, Difference]
    keywords: Mapping[str, Difference]


def held_out_reviews(files: Sequence[Path], label_set: LabelSet) -> list[LabelledReview]:
    """The test split of the files, which no training touches; one entry a text.

    Raises:
        InvalidInputError: a file cannot be used, has soft labels, or the test split is too small.
    """
    reviews = [r for path in files for r in read_labelled(path, label_set) if split_of(r.text) == "test"]
    if soft := next((r for r in reviews if r.targets), None):
        raise InvalidInputError(
            f"review {soft.id}: soft labels ('targets') cannot be compared on; give people's labels"
        )
    merged = merge_sources(check_reviews(reviews, label_set).kept)
    if len(merged) < FEWEST_REVIEWS:
        raise InvalidInputError(
            f"{', '.join(map(str, files))}: {len(merged)} reviews of the test split (8 % of all) in it; a comparison "
            f"takes {FEWEST_REVIEWS} at least, and some hundreds to notice small gains"
        )
    return merged


def compare(
    champion: Path,
    challenger: Path,
    files: Sequence[Path],
    label_set: LabelSet,
    *,
    resamples: int = 2000,
    seed: int = 1,
) -> Comparison:
    """Compare the versions that two model repositories serve, on the test split of ``files``.

    Raises:
        ArtifactError: a repository is broken, or the two have different label sets.
        InvalidInputError: the files cannot be used, or fewer than 1000 resamples are asked for.
    """
    if resamples < FEWEST_RESAMPLES:
        raise InvalidInputError(f"--resamples {resamples}: an interval takes {FEWEST_RESAMPLES} at least")
    reviews = held_out_reviews(files, label_set)
    log.info("comparing on %d held-out reviews", len(reviews))
    said = [
        predict_repository(repository, reviews, version=served_artifact_folder(repository).name)
        for repository in (champion, challenger)
    ]
    _require_same_labels(said[0], said[1], label_set)
    before, after = outcomes(said[0]), outcomes(said[1])
    differences = paired_bootstrap(before, after, resamples=resamples, seed=seed)
    graded = graded_count(said[0].reviews)
    metrics = dict(zip(measurable(graded), differences, strict=False))
    digest = hashlib.sha256()
    for review in sorted(said[0].reviews, key=lambda review: review.text):
        digest.update(f"{review.text}\0{sorted(review.scores.items())}\0{sorted(review.annotated)}\0".encode())
    return Comparison(
        champion=said[0].labels.model_version,
        challenger=said[1].labels.model_version,
        files=tuple(path.name for path in files),
        reviews=len(before),
        graded=graded,
        data_sha256=digest.hexdigest(),
        resamples=resamples,
        seed=seed,
        metrics=metrics,
        keywords=dict(zip(said[0].labels.keywords, differences[len(METRICS) :], strict=True)),
    )


def graded_count(reviews: Sequence[LabelledReview]) -> int:
    """How many of the reviews have a label of five levels, which sentiments are compared on."""
    return sum(review.graded and bool(review.scores) for review in reviews)


def outcomes(predictions: Predictions) -> Outcomes:
    """Count hits and mistakes: keywords that are annotated, and sentiments of tagged labels of graded reviews."""
    labels, reviews = predictions.labels, predictions.reviews
    known = np.array([[name in review.annotated for name in labels.keywords] for review in reviews])
    true = np.array([[name in review.scores for name in labels.keywords] for review in reviews]) & known
    found = (predictions.keyword_probs >= np.array(labels.thresholds, np.float32)) & known
    keywords = np.stack([true & found, ~true & found, true & ~found], 2).astype(np.float64)
    size = len(labels.sentiments)
    sentiments = np.zeros((len(reviews), size, size))
    chosen = predictions.sentiment_probs.argmax(2)
    for row, review in enumerate(reviews):
        for name, score in review.scores.items() if review.graded else ():
            sentiments[row, labels.sentiment_scores.index(score), chosen[row, labels.all_labels.index(name)]] += 1
    return Outcomes(keywords, sentiments)


def _require_same_labels(champion: Predictions, challenger: Predictions, label_set: LabelSet) -> None:
    for field in ("keywords", "overall", "sentiment_scores"):
        ours, theirs = getattr(champion.labels, field), getattr(challenger.labels, field)
        if not ours == theirs == getattr(label_set, field):
            raise ArtifactError(
                f"labels.json: {field}: champion {ours!r}, challenger {theirs!r}, label set "
                f"{getattr(label_set, field)!r}; only models of one label set can be compared"
            )
