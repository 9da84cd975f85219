"""Choose a labelling round from a pool: what the strategies need is computed, and quotas combine what they say."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from client.artifact import Artifact
from client.encoding import EncodedReview, Encoder
from client.errors import InvalidInputError
from training.selection.embeddings import embed
from training.selection.outliers import cluster_outliers, clustered_rows
from training.selection.pool import PoolReview, fresh_rows
from training.selection.quotas import DEFAULT_QUOTAS, Strategy, combine
from training.selection.scoring import PoolScorer
from training.selection.strategies import near_threshold, proportional, ranked, uncertain_sentiment
from training.selection.vocabulary import rare_vocabulary, train_vocabulary

log = logging.getLogger("selection")


@dataclass(frozen=True)
class Selected:
    """A review to label, the strategy that chose it (or ``REFILL``, see ``combine``), and why in words."""

    review: PoolReview
    strategy: str
    why: str


def select(
    pool: Sequence[PoolReview],
    count: int,
    repository: Path,
    *,
    training_texts: Sequence[str] = (),
    checkpoint: Path | None = None,
    quotas: Mapping[str, float] = DEFAULT_QUOTAS,
    seed: int = 1,
) -> list[Selected]:
    """Choose ``count`` reviews, none twice and none of the training data, grouped by strategy.

    Args:
        pool: reviews to choose from.
        count: how many; all new ones where there are fewer.
        repository: a model repository, whose served version says where the model is unsure.
        training_texts: the present training data. Rare vocabulary is rare against it.
        checkpoint: a checkpoint folder whose encoder embeds the reviews; outliers need it.
        quotas: percent by strategy. A strategy without what it needs leaves its quota to the others.
        seed: of the random draws.

    Raises:
        InvalidInputError: nothing of the pool is new, or the training data is too small for a vocabulary.
        ArtifactError: the repository or the checkpoint cannot be used.
    """
    if count < 1:
        raise InvalidInputError(f"--count {count}: choose 1 review at least")
    scorer = PoolScorer(repository)
    reviews, encoded = _new_reviews(pool, training_texts, scorer)
    if len(reviews) < count:
        log.warning("%d reviews are asked for, and only %d are new: all of them are chosen", count, len(reviews))
    texts = [review.text for review in reviews]
    strategies: dict[str, Strategy] = {
        "proportional": proportional([(review.shop, review.category) for review in reviews], seed)
    }
    if quotas.get("threshold") or quotas.get("sentiment"):
        scores = scorer.score(encoded)
        labels = scores.labels
        lengths = [len(text) for text in texts]
        strategies["threshold"] = ranked(
            near_threshold(scores.keyword_probs, labels.thresholds, labels.keywords, lengths)
        )
        strategies["sentiment"] = ranked(
            uncertain_sentiment(scores.sentiment_probs, labels.all_labels, labels.sentiments)
        )
    if quotas.get("vocabulary"):
        if training_texts:
            log.info("training a SentencePiece vocabulary on %d texts", len(training_texts))
            strategies["vocabulary"] = ranked(rare_vocabulary(train_vocabulary(training_texts), texts))
        else:
            log.warning("no training data (--exclude): no vocabulary is rare against nothing")
    if quotas.get("outliers"):
        if checkpoint:
            strategies["outliers"] = ranked(_outliers(checkpoint, texts, seed))
        else:
            log.warning("no checkpoint (--checkpoint): without sentence embeddings there are no outliers")
    chosen = combine(strategies, quotas, count, len(reviews))
    if len(chosen) < min(count, len(reviews)):
        log.warning(
            "only %d of %d are chosen: the strategies have a reason for no more; give proportional a quota to fill up",
            len(chosen),
            count,
        )
    return [Selected(reviews[row], strategy, why) for row, strategy, why in chosen]


def _new_reviews(
    pool: Sequence[PoolReview], training_texts: Sequence[str], scorer: PoolScorer
) -> tuple[list[PoolReview], list[EncodedReview]]:
    """What is new and can be read, with its encoding."""
    fresh = [pool[row] for row in fresh_rows(pool, training_texts)]
    encoded = list(zip(fresh, scorer.encode([review.text for review in fresh]), strict=True))
    readable = [(review, tokens) for review, tokens in encoded if isinstance(tokens, EncodedReview)]
    log.info("pool: %d reviews, %d of them new", len(pool), len(fresh))
    for review, error in encoded:
        if not isinstance(error, EncodedReview):
            log.warning("review %s is left out: %s", review.id, error)
    if not readable:
        raise InvalidInputError(f"--pool: none of its {len(pool)} reviews is new and readable; bring reviews that are")
    reviews, tokens = zip(*readable, strict=True)
    return list(reviews), list(tokens)


def _outliers(checkpoint: Path, texts: Sequence[str], seed: int) -> list[tuple[int, str]]:
    rows = clustered_rows(len(texts), seed)
    encoder = Encoder(Artifact.load(checkpoint))
    embeddings = embed(str(checkpoint), encoder, [texts[row] for row in rows])
    return [(int(rows[place]), why) for place, why in cluster_outliers(embeddings)]
