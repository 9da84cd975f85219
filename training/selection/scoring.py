"""What the served model says of texts without labels: its ONNX graphs, in process, chained as Triton chains them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.artifact import Artifact, Labels
from client.batching import buckets_up_to, pack, padded
from client.encoding import EncodedReview, Encoder
from client.errors import InvalidReviewError
from client.served import served_artifact_folder
from client.windows import SPECIAL_TOKENS_PER_WINDOW
from training.predictions import MAX_ROWS, open_model

log = logging.getLogger("selection")

REPORTS = 10


@dataclass(frozen=True)
class PoolScores:
    """``keyword_probs`` FP32 ``[N, K]`` and ``sentiment_probs`` FP32 ``[N, K+1, S]`` of N texts, as served.

    Keywords below their thresholds are not asked for a sentiment: their rows are 0. The last row is ``overall``.
    """

    labels: Labels
    keyword_probs: NDArray[np.float32]
    sentiment_probs: NDArray[np.float32]


class PoolScorer:
    """A version of a model repository, by default the one that is served."""

    def __init__(self, repository: Path, version: str | None = None) -> None:
        """Load the version's labels, tokenizer and both graphs.

        Raises:
            ArtifactError: the repository lacks the version or one of its files.
        """
        folder = repository / "review_analysis" / version if version else served_artifact_folder(repository)
        artifact = Artifact.load(folder)
        self.labels = artifact.labels
        self._encoder = Encoder(artifact)
        self._keyword = open_model(repository, "keyword_classifier", folder.name)
        self._sentiment = open_model(repository, "sentiment_classifier", folder.name)

    def encode(self, texts: Sequence[str]) -> list[EncodedReview | InvalidReviewError]:
        """The texts' tokens, cut to one window, or for a text that cannot be read its error."""
        most = self._encoder.max_length - SPECIAL_TOKENS_PER_WINDOW
        return [
            found
            if isinstance(found, InvalidReviewError)
            else replace(found, input_ids=found.input_ids[:most], word_of_token=found.word_of_token[:most])
            for found in self._encoder.encode_many(texts)
        ]

    def score(self, reviews: Sequence[EncodedReview]) -> PoolScores:
        """Keyword probabilities of each review, and sentiments of the keywords found and of the overall label."""
        encoder, labels = self._encoder, self.labels
        rows = [[encoder.cls_id, *review.input_ids, encoder.sep_id] for review in reviews]
        keyword_probs = np.zeros((len(rows), len(labels.keywords)), np.float32)
        sentiment_probs = np.zeros((len(rows), len(labels.all_labels), len(labels.sentiments)), np.float32)
        batches = pack([len(row) for row in rows], max_rows=MAX_ROWS, buckets=buckets_up_to(encoder.max_length))
        for number, batch in enumerate(batches, 1):
            input_ids, attention_mask = padded(rows, batch, encoder.pad_id)
            feed: dict[str, NDArray[Any]] = {"input_ids": input_ids, "attention_mask": attention_mask}
            places = list(batch.rows)
            keyword_probs[places] = self._keyword.run(["keyword_probs"], feed)[0]
            feed["keyword_probs"] = keyword_probs[places]
            sentiment_probs[places] = self._sentiment.run(["sentiment_probs"], feed)[0]
            if number % max(1, len(batches) // REPORTS) == 0:
                log.info("scored %d of %d batches of reviews", number, len(batches))
        return PoolScores(labels, keyword_probs, sentiment_probs)
