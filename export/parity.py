"""Whether the same model computes the same in torch, onnxruntime and Triton, and what a smaller form of it loses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from client.errors import ReviewLensError
from export.graphs import thresholds_float32
from export.runners import Floats, Runner, TritonRunner
from export.samples import Batch


class ParityError(ReviewLensError):
    """The exported model does not compute what the checkpoint does, or loses more than allowed."""

    code = "FAILED_PRECONDITION"


@dataclass(frozen=True)
class Difference:
    """Absolute differences of probabilities; ``flips`` of ``decisions`` fall on the other side of a threshold."""

    keyword_max: float
    keyword_mean: float
    sentiment_max: float
    sentiment_mean: float
    flips: int
    decisions: int

    @property
    def largest(self) -> float:
        # Unlike max(), np.maximum keeps what is not a number.
        return float(np.maximum(self.keyword_max, self.sentiment_max))

    def require(self, bound: float, what: str) -> None:
        """Raise ParityError when a probability differs by more than ``bound``, or is not a number."""
        if not self.largest <= bound:
            raise ParityError(f"{what}: a probability differs by {self.largest:.2e}, above {bound:g}: {self}")

    def __str__(self) -> str:
        return (
            f"keyword_probs max {self.keyword_max:.1e} mean {self.keyword_mean:.1e}, "
            f"sentiment_probs max {self.sentiment_max:.1e} mean {self.sentiment_mean:.1e}, "
            f"{self.flips} of {self.decisions} keyword decisions changed"
        )


def compare(reference: Runner, other: Runner, batches: Iterable[Batch], thresholds: Sequence[float]) -> Difference:
    """Run both on the batches. Sentiments are compared for the reference's keywords and for no keyword."""
    limits = thresholds_float32(thresholds)
    keywords: list[Floats] = []
    sentiments: list[Floats] = []
    flips = decisions = 0
    for batch in batches:
        expected, found = reference.keywords(batch), other.keywords(batch)
        keywords.append(np.abs(expected - found).ravel())
        flips += int(((expected >= limits) != (found >= limits)).sum())
        decisions += expected.size
        for probabilities in (expected, np.zeros_like(expected)):
            difference = np.abs(reference.sentiments(batch, probabilities) - other.sentiments(batch, probabilities))
            asked = np.pad(probabilities >= limits, ((0, 0), (0, 1)), constant_values=True)
            # A row that must stay 0 counts only when it does not.
            sentiments.append(difference[asked | difference.any(2)].ravel())
    every_keyword, every_sentiment = np.concatenate(keywords), np.concatenate(sentiments)
    return Difference(
        float(every_keyword.max()),
        float(every_keyword.mean()),
        float(every_sentiment.max()),
        float(every_sentiment.mean()),
        flips,
        decisions,
    )


def ensemble_difference(reference: Runner, triton: TritonRunner, batches: Iterable[Batch]) -> float:
    """The largest absolute difference of the ensemble, which chains both models, from ``reference`` doing the same."""
    largest: list[float] = []
    for batch in batches:
        keywords, sentiments = triton.analysis(batch)
        # Of the ensemble's own probabilities: one that lies at its threshold may fall on either side.
        expected = reference.sentiments(batch, keywords)
        largest += [np.abs(keywords - reference.keywords(batch)).max(), np.abs(sentiments - expected).max()]
    return float(np.max(largest))
