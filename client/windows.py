"""Windows: a review that is longer than the model reads is cut into overlapping windows, and merged again."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.encoding import EncodedReview

SPECIAL_TOKENS_PER_WINDOW = 2


@dataclass(frozen=True)
class Window:
    """Tokens ``first_token`` to ``last_token`` (half-open) of an encoded review."""

    first_token: int
    last_token: int


def plan_windows(review: EncodedReview, max_length: int, overlap: float = 0.25) -> tuple[Window, ...]:
    """Cover every token with windows of at most ``max_length`` tokens, the two special tokens included.

    Windows of one review are about equally long and share about ``overlap * max_length`` tokens with the next one.
    They begin and end between words; only a word that is longer than a window is cut inside.

    Raises:
        ValueError: ``max_length`` leaves no room for a token, or ``overlap`` is not between 0 and 0.5.
    """
    capacity = max_length - SPECIAL_TOKENS_PER_WINDOW
    if capacity < 1 or not 0 <= overlap <= 0.5:
        raise ValueError(f"max_length {max_length} must be 3 or more, and overlap {overlap} between 0 and 0.5")
    total = len(review.input_ids)
    if total <= capacity:
        return (Window(0, total),)
    shared = min(int(overlap * max_length), capacity - 1)
    count = math.ceil((total - shared) / (capacity - shared))
    size = math.ceil((total + (count - 1) * shared) / count)
    edges = _word_edges(review)

    windows: list[Window] = []
    first = 0
    while first + capacity < total:
        last = _window_end(edges, first, size, capacity)
        windows.append(Window(first, last))
        first = _next_start(edges, last, shared, capacity)
    # What is left may be a word or two: begin earlier, so that the last window has as much context as the others.
    first = min(first, edges[bisect_left(edges, total - size)])
    return (*windows, Window(first, total))


def _word_edges(review: EncodedReview) -> list[int]:
    """The token positions between words, 0 and the number of tokens included."""
    owner = review.word_of_token
    return [0, *(i for i in range(1, len(owner)) if owner[i] != owner[i - 1]), len(owner)]


def _window_end(edges: list[int], first: int, size: int, capacity: int) -> int:
    """The first edge from ``first + size`` on, or the last one that still fits."""
    edge = edges[bisect_left(edges, first + size)]
    if edge <= first + capacity:
        return edge
    edge = edges[bisect_right(edges, first + capacity) - 1]
    return edge if edge > first else first + capacity


def _next_start(edges: list[int], last: int, shared: int, capacity: int) -> int:
    """An edge about ``shared`` tokens before ``last`` from where the next window reaches a whole word past ``last``."""
    following = edges[bisect_right(edges, last)]
    start = edges[bisect_left(edges, max(last - shared, min(following - capacity, last)))]
    return start if start <= last else last - shared  # the latter: last cuts a word that is longer than a window


def merge_keyword_probs(window_probs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keyword probabilities of a review, ``[K]``: of its windows' ``[N, K]`` the highest."""
    merged: NDArray[np.float32] = window_probs.max(axis=0)
    return merged


def choose_sentiment(
    window_keyword_probs: NDArray[np.float32],
    window_sentiment_probs: NDArray[np.float32],
    window_tokens: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Sentiment probabilities of a review, ``[K+1, S]``, from those of its N windows.

    A keyword's row comes from the window where the keyword is most probable (the first of equals), and is zero if
    the model did not ask for it there. The overall row is the mean over windows, weighted by their tokens.

    Args:
        window_keyword_probs: ``[N, K]``
        window_sentiment_probs: ``[N, K+1, S]``
        window_tokens: ``[N]``, tokens of each window
    """
    best = window_keyword_probs.argmax(axis=0)
    keywords = window_sentiment_probs[best, np.arange(len(best))]
    weights = (window_tokens / window_tokens.sum()).astype(np.float32)
    overall = weights @ window_sentiment_probs[:, -1]
    return np.concatenate([keywords, overall[None]])
