"""Learners of simulated rounds: from labels bought so far to what a model says of the pool, and its F1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from client.encoding import Encoder
from training.data import LabelledReview, LabelSet
from training.trainer import Recipe, fit, predict_keyword

# Of the probe: chosen on random draws, by the F1 at 0.5 of 200 to 1,600 labels.
REGULARIZATION = 3.0
NGRAMS = (1, 3)
TOPICS = 512
BLOCK_NORM = 3.0
DECISION = 0.5


@dataclass(frozen=True)
class World:
    """The ``pool``, whose labels are bought, the ``held_out`` reviews that measure, and embeddings FP32 ``[N, D]``."""

    label_set: LabelSet
    pool: tuple[LabelledReview, ...]
    held_out: tuple[LabelledReview, ...]
    pool_embeddings: NDArray[np.float32]
    held_out_embeddings: NDArray[np.float32]


@dataclass(frozen=True)
class Learned:
    """A model's ``keyword_probs`` ``[N, K]`` and ``sentiment_probs`` ``[N, K+1, S]`` of the pool, and its F1.

    Rows of ``sentiment_probs`` that the learner cannot tell are 0. ``f1`` is by name of the measure.
    """

    keyword_probs: NDArray[np.float32]
    sentiment_probs: NDArray[np.float32]
    f1: dict[str, float]


class Learner(Protocol):
    """Trains on the pool's ``rows`` from scratch."""

    def learn(self, rows: Sequence[int], seed: int) -> Learned: ...


class Probe:
    """Logistic regressions on frozen features: the encoder's embedding, and character n-grams reduced by SVD.

    One for each keyword, and one for the five levels of the overall label. Both blocks of features are made without
    any label, from the texts of the pool, and scaled to about the same norm.
    """

    def __init__(self, world: World) -> None:
        self._label_set = world.label_set
        vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=NGRAMS, min_df=2, sublinear_tf=True)
        counts = vectorizer.fit_transform([review.text for review in world.pool])
        topics = TruncatedSVD(min(TOPICS, counts.shape[1] - 1), random_state=0).fit(counts)
        mean, spread = world.pool_embeddings.mean(0), world.pool_embeddings.std(0) + 1e-6

        def features(reviews: Sequence[LabelledReview], embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
            words = topics.transform(vectorizer.transform([review.text for review in reviews]))
            return BLOCK_NORM * np.hstack([(embeddings - mean) / spread / np.sqrt(len(mean)), words])

        self._pool = features(world.pool, world.pool_embeddings)
        self._held_out = features(world.held_out, world.held_out_embeddings)
        self._said, self._overall = _truth(world.pool, world.label_set)
        self._held_out_said, self._held_out_overall = _truth(world.held_out, world.label_set)

    def learn(self, rows: Sequence[int], seed: int) -> Learned:
        # Regressions this small only wait for one another in threads: on a busy machine forty times as long.
        with threadpool_limits(1):
            return self._learn(rows)

    def _learn(self, rows: Sequence[int]) -> Learned:
        labels = self._label_set
        both = np.vstack([self._pool, self._held_out])
        keyword_probs = np.zeros((len(both), len(labels.keywords)), np.float32)
        for k in range(len(labels.keywords)):
            keyword_probs[:, k] = self._probabilities(rows, self._said[rows, k], both, 2)[:, 1]
        overall = self._probabilities(rows, self._overall[rows], both, len(labels.sentiments))
        size = len(self._pool)
        sentiment_probs = np.zeros((size, len(labels.all_labels), len(labels.sentiments)), np.float32)
        sentiment_probs[:, -1] = overall[:size]
        truth = self._held_out_overall
        macro = f1_score(truth, overall[size:].argmax(1), labels=np.unique(truth), average="macro", zero_division=0)
        f1 = _keyword_f1(self._held_out_said, keyword_probs[size:]) | {"sentiment macro": float(macro)}
        return Learned(keyword_probs[:size], sentiment_probs, f1)

    def _probabilities(
        self, rows: Sequence[int], classes: NDArray[np.int64], features: NDArray[np.float64], outputs: int
    ) -> NDArray[np.float64]:
        """``[M, outputs]``; classes that no label shows have probability 0."""
        probs = np.zeros((len(features), outputs))
        shown = np.unique(classes)
        if len(shown) == 1:
            probs[:, shown] = 1
        else:
            model = LogisticRegression(C=REGULARIZATION, max_iter=500).fit(self._pool[rows], classes)
            probs[:, shown] = model.predict_proba(features)
        return probs


class FineTuned:
    """A keyword classifier fine-tuned by ``recipe``, whole. It tells no sentiment."""

    def __init__(self, world: World, encoder: Encoder, recipe: Recipe) -> None:
        self._world, self._encoder, self._recipe = world, encoder, recipe

    def learn(self, rows: Sequence[int], seed: int) -> Learned:
        world, labels = self._world, self._world.label_set
        recipe = replace(self._recipe, seed=seed)
        model = fit("keyword", [world.pool[row] for row in rows], self._encoder, labels, recipe).model
        probs = expit(predict_keyword(model, world.pool, self._encoder, labels)[0])
        logits, targets, _ = predict_keyword(model, world.held_out, self._encoder, labels)
        unknown = np.zeros((len(world.pool), len(labels.all_labels), len(labels.sentiments)), np.float32)
        return Learned(probs, unknown, _keyword_f1(targets.astype(np.int64), expit(logits)))


def _truth(reviews: Sequence[LabelledReview], labels: LabelSet) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Keywords said, 0/1 ``[N, K]``, and the class of the overall label ``[N]``."""
    said = np.array([[name in review.scores for name in labels.keywords] for review in reviews], np.int64)
    overall = np.array([labels.sentiment_scores.index(review.scores[labels.overall]) for review in reviews])
    return said, overall


def _keyword_f1(said: NDArray[np.int64], probs: NDArray[np.float32]) -> dict[str, float]:
    """F1 over the keywords that the held-out reviews say at all; both arguments are ``[N, K]``."""
    predicted = probs[:, said.any(0)] >= DECISION
    said = said[:, said.any(0)]
    return {
        f"keyword {average}": float(f1_score(said, predicted, average=average, zero_division=0))
        for average in ("micro", "macro")
    }
