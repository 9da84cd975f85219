"""Highlights: for each predicted keyword the words whose masking lowers its probability most."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.encoding import EncodedReview
from client.masking import Row, Unit
from client.words import Word

# Drops are compared in steps of this size: the same row computed in another batch differs in its last bits, and that
# must not reorder words. A drop of no step is no highlight.
DROP_STEP = 1e-6


@dataclass(frozen=True)
class Highlight:
    """A word with the keyword's probability in the whole review and in the review without the word."""

    word: Word
    probability: float
    masked_probability: float

    @property
    def drop(self) -> float:
        """What masking the word takes from the keyword's probability."""
        return self.probability - self.masked_probability


@dataclass(frozen=True)
class MaskedProbabilities:
    """What the masks of one review gave: ``probabilities[u]`` is FP32 ``[K]`` with the words ``units[u]`` masked.

    Units are in the order of their words.
    """

    units: tuple[Unit, ...]
    probabilities: NDArray[np.float32]


def combine_windows(
    rows: Sequence[Row], row_probs: NDArray[np.float32], unmasked: NDArray[np.float32]
) -> MaskedProbabilities:
    """The review's probabilities under each mask: like the unmasked ones, the highest of its windows.

    A window that has none of the masked words counts with its unmasked row.

    Args:
        rows: masked rows of one review (exact masks, segments, or both)
        row_probs: ``[M, K]``, a row each
        unmasked: ``[N, K]``, a window each
    """
    units = sorted({row.words for row in rows})
    position = {unit: number for number, unit in enumerate(units)}
    by_window = np.repeat(unmasked[None], len(units), axis=0)
    by_window[[position[row.words] for row in rows], [row.window for row in rows]] = row_probs
    return MaskedProbabilities(tuple(units), by_window.max(axis=1))


def rank_words(probability: NDArray[np.float32], masked: NDArray[np.float32]) -> NDArray[np.int64]:
    """For each keyword the M masks, greatest drop first, equal ones in their order: ``[M, K]`` of indices.

    Args:
        probability: ``[K]``, of the whole review
        masked: ``[M, K]``, with each mask
    """
    order: NDArray[np.int64] = np.argsort(-_drop_steps(probability, masked), axis=0, kind="stable")
    return order


def pick_highlights(
    review: EncodedReview,
    keyword: int,
    unmasked: NDArray[np.float32],
    masked: MaskedProbabilities,
    count: int = 1,
) -> list[Highlight]:
    """The ``count`` words whose masking lowers the keyword's probability most; fewer if fewer lower it at all.

    Masks of several words (segments) are left out: a highlight is one word.

    Args:
        review: the review that was masked
        keyword: column of the keyword
        unmasked: ``[N, K]``, a window each
        masked: from ``combine_windows``
    """
    single = [number for number, unit in enumerate(masked.units) if len(unit) == 1]
    probability = unmasked[:, keyword].max(keepdims=True)
    probabilities = masked.probabilities[single, keyword : keyword + 1]
    steps = _drop_steps(probability, probabilities)[:, 0]
    ranked = rank_words(probability, probabilities)[:count, 0]
    return [
        Highlight(review.words[masked.units[single[i]][0]], float(probability[0]), float(probabilities[i, 0]))
        for i in ranked
        if steps[i] > 0
    ]


def words_to_refine(
    unmasked: NDArray[np.float32], masked: MaskedProbabilities, keywords: Iterable[int], segments: int = 1
) -> list[int]:
    """The words to mask one by one after ``plan_segments``: those of each keyword's ``segments`` best segments.

    A segment of one word was masked exactly and is not named again.

    Args:
        unmasked: ``[N, K]``, a window each
        masked: of the segments, from ``combine_windows``
        keywords: columns of the predicted keywords
        segments: how many segments to open for each of them
    """
    ranked = rank_words(unmasked.max(axis=0), masked.probabilities)
    best = {masked.units[number] for keyword in keywords for number in ranked[:segments, keyword]}
    return sorted(word for unit in best if len(unit) > 1 for word in unit)


def _drop_steps(probability: NDArray[np.float32], masked: NDArray[np.float32]) -> NDArray[np.int64]:
    """Drops ``[M, K]`` in whole steps."""
    drops = probability.astype(np.float64) - masked.astype(np.float64)
    steps: NDArray[np.int64] = np.rint(drops / DROP_STEP).astype(np.int64)
    return steps
