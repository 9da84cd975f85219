"""Token batches that exports are checked and measured with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.batching import buckets_up_to, pack, padded
from client.encoding import Encoder
from client.errors import InvalidInputError, InvalidReviewError
from client.readers import read_rows
from client.results import ReviewInput

SHIPPED_REVIEWS = Path(__file__).resolve().parent.parent / "samples" / "reviews.txt"


@dataclass(frozen=True)
class Batch:
    """``input_ids`` and ``attention_mask`` int64 [B, L], padded on the right."""

    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.input_ids)


def review_batches(file: Path, encoder: Encoder) -> list[Batch]:
    """The reviews of a file as batches; of a review longer than one window, the first window.

    Raises:
        InvalidInputError: the file cannot be read or holds no review.
    """
    texts = [row.text for row in read_rows(str(file)) if isinstance(row, ReviewInput)]
    reviews = [review for review in encoder.encode_many(texts) if not isinstance(review, InvalidReviewError)]
    if not reviews:
        raise InvalidInputError(f"{file}: no review in it to measure with; give a file with texts")
    room = encoder.max_length - 2
    return _batches(([encoder.cls_id, *review.input_ids[:room], encoder.sep_id] for review in reviews), encoder)


def random_batches(encoder: Encoder, vocabulary: int, seed: int = 0) -> list[Batch]:
    """Rows of random tokens: one alone, many with and without padding, the longest and the shortest there are."""
    random = np.random.default_rng(seed)

    def row(length: int) -> list[int]:
        return [encoder.cls_id, *random.integers(0, vocabulary, length - 2).tolist(), encoder.sep_id]

    longest = encoder.max_length
    alone = Batch(np.array([row(min(12, longest))]), np.ones((1, min(12, longest)), np.int64))
    mixed = [row(int(length)) for length in random.integers(3, longest + 1, 10)]
    return [alone, *_batches([row(3), row(longest), *mixed], encoder)]


def batches_of(rows: Sequence[Sequence[int]], encoder: Encoder) -> Iterator[tuple[tuple[int, ...], Batch]]:
    """Rows of token ids as batches of similar length, each with the numbers of its rows."""
    for batch in pack([len(row) for row in rows], token_budget=2048, buckets=buckets_up_to(encoder.max_length)):
        yield batch.rows, Batch(*padded(rows, batch, encoder.pad_id))


def _batches(rows: Iterable[list[int]], encoder: Encoder) -> list[Batch]:
    return [batch for _, batch in batches_of(list(rows), encoder)]
