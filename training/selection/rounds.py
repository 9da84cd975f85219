"""Rounds of a simulation: a strategy that knows the present model buys labels, and a new model is trained on all."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from client.encoding import EncodedReview, Encoder
from client.errors import InvalidInputError
from training.corpus import split_of
from training.data import LabelledReview, LabelSet, read_labelled
from training.selection.embeddings import embed
from training.selection.learners import DECISION, Learned, Learner, World
from training.selection.quotas import DEFAULT_QUOTAS, Strategy, combine
from training.selection.simulation_report import BASELINE, Point
from training.selection.strategies import Ranking, near_threshold, proportional, ranked, uncertain_sentiment
from training.selection.vocabulary import rare_vocabulary, train_vocabulary

log = logging.getLogger("simulation")

# What a strategy alone leaves of a round is drawn at random: the last quota is too small to be due a review before.
FILL = 1e-6
MIXES: Mapping[str, Mapping[str, float]] = {
    BASELINE: {BASELINE: 100},
    **{name: {name: 100, BASELINE: FILL} for name in DEFAULT_QUOTAS},
    "mix": {**DEFAULT_QUOTAS, BASELINE: FILL},
}


def load_world(data: Path, label_set: LabelSet, backbone: str, encoder: Encoder) -> World:
    """Read and embed the reviews that have five levels and an overall score, by split.

    Raises:
        InvalidInputError: the file cannot be used, or one of the two splits is empty.
    """
    reviews = [r for r in read_labelled(data, label_set) if r.graded and label_set.overall in r.scores]
    tokens = encoder.encode_many([review.text for review in reviews])
    pool: list[LabelledReview] = []
    held_out: list[LabelledReview] = []
    for review, encoded in zip(reviews, tokens, strict=True):
        if isinstance(encoded, EncodedReview):
            (pool if split_of(review.text) == "train" else held_out).append(review)
    if not pool or not held_out:
        raise InvalidInputError(
            f"--data {data}: {len(pool)} reviews with levels and a score for {label_set.overall} in the training split "
            f"and {len(held_out)} held out; bring at least 100 such reviews"
        )
    log.info("pool %d reviews, held out %d", len(pool), len(held_out))
    embeddings = embed(backbone, encoder, [review.text for review in (*pool, *held_out)])
    return World(label_set, tuple(pool), tuple(held_out), embeddings[: len(pool)], embeddings[len(pool) :])


def simulate(
    world: World, learner: Learner, strategies: Sequence[str], sizes: Sequence[int], seed: int, outliers: Ranking
) -> Iterator[list[Point]]:
    """Run all rounds of each of these strategies of ``MIXES``: a point for each of ``sizes``.

    All begin with the same random reviews and one model of them. ``outliers`` is the pool's ranking, which stays: the
    embeddings do not change with the labels.
    """
    first = [int(row) for row in np.random.default_rng(seed).choice(len(world.pool), sizes[0], replace=False)]
    start = learner.learn(first, seed)
    for strategy in strategies:
        rows, learned = list(first), start
        points = [_point(world, strategy, seed, rows, learned)]
        for size in sizes[1:]:
            rows += _buy(world, learned, rows, MIXES[strategy], size - len(rows), seed * 1000 + size, outliers)
            learned = learner.learn(rows, seed)
            points.append(_point(world, strategy, seed, rows, learned))
        yield points


def _point(world: World, strategy: str, seed: int, rows: Sequence[int], learned: Learned) -> Point:
    return Point(strategy, seed, len(rows), sum(len(world.pool[row].text) for row in rows), learned.f1)


def _buy(
    world: World,
    learned: Learned,
    rows: Sequence[int],
    quotas: Mapping[str, float],
    count: int,
    seed: int,
    outliers: Ranking,
) -> list[int]:
    """Rows of the pool that the mix chooses when ``rows`` are labelled."""
    labels, left = world.label_set, sorted(set(range(len(world.pool))) - set(rows))
    place = {row: position for position, row in enumerate(left)}
    reviews = [world.pool[row] for row in left]
    strategies: dict[str, Strategy] = {
        BASELINE: proportional([()] * len(left), seed),
        "proportional": proportional([(review.shop, review.category) for review in reviews], seed + 1),
        "threshold": ranked(
            near_threshold(
                learned.keyword_probs[left],
                (DECISION,) * len(labels.keywords),
                labels.keywords,
                [len(review.text) for review in reviews],
            )
        ),
        "sentiment": ranked(uncertain_sentiment(learned.sentiment_probs[left], labels.all_labels, labels.sentiments)),
        "outliers": ranked([(place[row], why) for row, why in outliers if row in place]),
    }
    if "vocabulary" in quotas:
        model = train_vocabulary([world.pool[row].text for row in rows])
        strategies["vocabulary"] = ranked(rare_vocabulary(model, [review.text for review in reviews]))
    return [left[row] for row, _, _ in combine(strategies, quotas, count, len(left))]
