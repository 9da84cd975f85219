"""The other side of the comparison: a keyword and a sentiment checkpoint as one that answers in labels and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from client.artifact import Artifact
from client.encoding import Encoder
from client.errors import InvalidInputError
from training.checkpoint import load_backbone
from training.data import LabelledReview, LabelSet
from training.examples import encode_reviews
from training.trainer import predict_keyword, predict_sentiment


class Classifiers:
    """Two checkpoints that ``training.finetune`` wrote, in PyTorch, with their own thresholds."""

    def __init__(self, keyword: Path, sentiment: Path, label_set: LabelSet, device: str = "cpu") -> None:
        """Load both.

        Raises:
            ArtifactError: a checkpoint cannot be read.
            InvalidInputError: a checkpoint has another label set.
        """
        self.label_set = label_set
        self.labels = []
        self.encoders = []
        for folder in (keyword, sentiment):
            artifact = Artifact.load(folder)
            if (artifact.labels.all_labels, artifact.labels.sentiment_scores) != (
                label_set.all_labels,
                label_set.sentiment_scores,
            ):
                raise InvalidInputError(
                    f"{folder}: its label set is not the one of --label-set; train it with that one"
                )
            self.labels.append(artifact.labels)
            self.encoders.append(Encoder(artifact))
        self.keyword: Any = load_backbone(str(keyword), len(label_set.keywords), 0.0, "eager").to(device)
        self.sentiment: Any = load_backbone(str(sentiment), len(label_set.sentiments), 0.0, "eager").to(device)

    def answers(self, reviews: Sequence[LabelledReview]) -> list[Mapping[str, int]]:
        """Every keyword over its threshold and the overall label, each with its most probable sentiment.

        A text that cannot be encoded has no answer.
        """
        reviews_read = [review for review, _ in encode_reviews(reviews, self.encoders[0])]
        logits, _, _ = predict_keyword(self.keyword, reviews_read, self.encoders[0], self.label_set)
        found = expit(logits / self.labels[0].keyword_temperature) >= np.array(self.labels[0].thresholds)
        asked = [
            replace(review, scores=dict.fromkeys(compress(self.label_set.all_labels, [*row, True]), 0))
            for review, row in zip(reviews_read, found.tolist(), strict=True)
        ]
        logits, _ = predict_sentiment(self.sentiment, asked, self.encoders[1], self.label_set, self.labels[1].prompt)
        chosen = iter(logits.argmax(1).tolist())
        answers = {r.text: {name: self.label_set.sentiment_scores[next(chosen)] for name in r.scores} for r in asked}
        return [answers.get(review.text, {}) for review in reviews]
