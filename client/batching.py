"""Batching: rows of many reviews, sorted by length and packed into batches of a fixed token budget.

A row is always padded to the bucket of its own length, whoever it shares a batch with, so its result does not depend
on its company. Few distinct shapes also let Triton merge batches of several clients.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray

# (step, up to): fine steps where most reviews are, coarse ones where a step is a small share of the row.
_STEPS = ((8, 64), (16, 128), (32, 256), (64, 1024))


def buckets_up_to(max_length: int) -> tuple[int, ...]:
    """Ascending bucket lengths; the last is ``max_length`` itself, the most that the model has positions for."""
    lengths: list[int] = []
    for step, end in _STEPS:
        lengths += range((lengths[-1] if lengths else 0) + step, end + 1, step)
    return (*(length for length in lengths if length < max_length), max_length)


BUCKETS = buckets_up_to(512)


@dataclass(frozen=True)
class Batch:
    """``rows`` are indices into the sequence of rows that was packed; each is padded to ``length`` tokens."""

    rows: tuple[int, ...]
    length: int


def bucket_of(length: int, buckets: Sequence[int] = BUCKETS) -> int:
    """The shortest bucket that holds ``length`` tokens.

    Raises:
        ValueError: no bucket is that long.
    """
    position = bisect_left(buckets, length)
    if position == len(buckets):
        raise ValueError(f"a row of {length} tokens is longer than the longest bucket, {buckets[-1]}")
    return buckets[position]


def pack(
    lengths: Sequence[int],
    *,
    token_budget: int = 4096,
    max_rows: int = 256,
    buckets: Sequence[int] = BUCKETS,
) -> list[Batch]:
    """Pack rows of these lengths (tokens) into batches: every row exactly once, shortest first.

    A batch has at most ``max_rows`` rows and ``rows * length <= token_budget``; a single row over the budget still
    gets a batch of its own.

    Raises:
        ValueError: a row is longer than the longest bucket.
    """
    members: defaultdict[int, list[int]] = defaultdict(list)
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        members[bucket_of(lengths[row], buckets)].append(row)
    batches: list[Batch] = []
    for length, rows in members.items():
        most = max(1, min(max_rows, token_budget // length))
        count = -(-len(rows) // most)
        # Equal parts instead of full ones and a rest: servers that work side by side finish together.
        edges = [len(rows) * i // count for i in range(count + 1)]
        batches += [Batch(tuple(rows[a:b]), length) for a, b in pairwise(edges)]
    return batches


def padded(
    rows_input_ids: Sequence[Sequence[int]], batch: Batch, pad_id: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``input_ids`` and ``attention_mask`` of a batch, both INT64 ``[rows, length]``, padded on the right."""
    return pad_rows([rows_input_ids[row] for row in batch.rows], batch.length, pad_id)


def pad_rows(
    rows_input_ids: Sequence[Sequence[int]], length: int, pad_id: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``input_ids`` and ``attention_mask`` of all the rows, both INT64 ``[rows, length]``, padded on the right."""
    lengths = np.fromiter(map(len, rows_input_ids), np.int64, len(rows_input_ids))
    attended = np.arange(length) < lengths[:, None]
    input_ids = np.full(attended.shape, pad_id, dtype=np.int64)
    input_ids[attended] = np.fromiter(chain.from_iterable(rows_input_ids), np.int64, int(lengths.sum()))
    return input_ids, attended.astype(np.int64)
