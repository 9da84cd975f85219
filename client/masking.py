"""Masking plan: which rows the keyword classifier must see to tell what each word contributes.

A row is a window of a review with the tokens of some words replaced by the mask token. One row gives every keyword's
probability, so the exact plan costs one row a word, whatever the number of keywords. The fast plan masks segments of
about sqrt(W) neighbouring words first, then one by one the words of those that matter (``highlights.words_to_refine``).

    plan_rows ─► unmasked probabilities ─► predicted keywords
    exact:  plan_masks
    fast:   plan_segments ─► words_to_refine ─► plan_masks(words=...)
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from client.encoding import EncodedReview, Encoder
from client.windows import Window

# Up to here segments followed by words cost as many rows as all the words do.
MAX_WORDS_WITHOUT_SEGMENTS = 8

Unit = tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """One input row of the keyword classifier, special tokens included.

    ``review`` is the index that the caller gave, ``window`` the position among that review's windows. ``words`` are
    the indices of the words masked together: none for the unmasked row, one for an exact mask, several for a
    segment. Words of a segment that lie outside the window are listed too: a segment has the same ``words`` in
    every window. All rows of one window are equally long.
    """

    review: int
    window: int
    words: Unit
    input_ids: tuple[int, ...]


def plan_rows(review_index: int, review: EncodedReview, windows: Sequence[Window], encoder: Encoder) -> list[Row]:
    """The unmasked rows of a review, one a window, in order."""
    return [
        Row(review_index, number, (), _framed(review.input_ids[window.first_token : window.last_token], encoder))
        for number, window in enumerate(windows)
    ]


def plan_masks(
    review_index: int,
    review: EncodedReview,
    windows: Sequence[Window],
    encoder: Encoder,
    words: Collection[int] | None = None,
) -> list[Row]:
    """The exact masks of a review: a row for each word in each window that has tokens of it.

    ``words`` limits the plan to these word indices. Words without tokens cannot be masked and get no row.
    """
    chosen = [word for word in _maskable(review) if words is None or word in words]
    return _masked_rows(review_index, review, windows, encoder, [(word,) for word in chosen])


def plan_segments(review_index: int, review: EncodedReview, windows: Sequence[Window], encoder: Encoder) -> list[Row]:
    """The coarse masks of a review: its W maskable words in about sqrt(W) equal segments of neighbours.

    A review of few words, where this would save nothing, gets its exact masks.
    """
    words = _maskable(review)
    if len(words) <= MAX_WORDS_WITHOUT_SEGMENTS:
        return plan_masks(review_index, review, windows, encoder)
    count = round(math.sqrt(len(words)))
    edges = [len(words) * i // count for i in range(count + 1)]
    segments = [tuple(words[a:b]) for a, b in pairwise(edges)]
    return _masked_rows(review_index, review, windows, encoder, segments)


def deduplicate(rows: Iterable[Row]) -> tuple[list[Row], list[int]]:
    """The rows with distinct ``input_ids``, first come first, and for each given row its position among them."""
    position: dict[tuple[int, ...], int] = {}
    unique: list[Row] = []
    index: list[int] = []
    for row in rows:
        if row.input_ids not in position:
            position[row.input_ids] = len(unique)
            unique.append(row)
        index.append(position[row.input_ids])
    return unique, index


def _maskable(review: EncodedReview) -> list[int]:
    """The words that have tokens, in order."""
    return list(dict.fromkeys(review.word_of_token))


def _framed(tokens: Sequence[int], encoder: Encoder) -> tuple[int, ...]:
    return (encoder.cls_id, *tokens, encoder.sep_id)


def _masked_rows(
    review_index: int, review: EncodedReview, windows: Sequence[Window], encoder: Encoder, units: Sequence[Unit]
) -> list[Row]:
    rows: list[Row] = []
    for number, window in enumerate(windows):
        span = slice(window.first_token, window.last_token)
        tokens, owners = review.input_ids[span], review.word_of_token[span]
        present = set(owners)
        for unit in units:
            masked = present.intersection(unit)
            if masked:
                ids = [encoder.mask_id if w in masked else t for t, w in zip(tokens, owners, strict=True)]
                rows.append(Row(review_index, number, unit, _framed(ids, encoder)))
    return rows
