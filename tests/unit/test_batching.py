from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.batching import BUCKETS, Batch, bucket_of, buckets_up_to, pack, padded

LENGTHS = st.lists(st.integers(3, 512), max_size=300)


@given(lengths=LENGTHS, token_budget=st.integers(1, 8192), max_rows=st.integers(1, 300))
def test_every_row_is_packed_once_within_the_budget(lengths: list[int], token_budget: int, max_rows: int) -> None:
    batches = pack(lengths, token_budget=token_budget, max_rows=max_rows)
    assert sorted(row for batch in batches for row in batch.rows) == list(range(len(lengths)))
    for batch in batches:
        assert 1 <= len(batch.rows) <= max_rows
        assert len(batch.rows) * batch.length <= token_budget or len(batch.rows) == 1
    assert [batch.length for batch in batches] == sorted(batch.length for batch in batches)


@given(lengths=LENGTHS, others=LENGTHS)
def test_a_row_is_padded_alike_in_any_company(lengths: list[int], others: list[int]) -> None:
    def padded_lengths(all_lengths: list[int]) -> dict[int, int]:
        return {row: batch.length for batch in pack(all_lengths) for row in batch.rows}

    alone, together = padded_lengths(lengths), padded_lengths(lengths + others)
    assert alone == {row: bucket_of(length) for row, length in enumerate(lengths)}
    assert {row: together[row] for row in alone} == alone


@given(lengths=LENGTHS.filter(bool))
def test_no_more_batches_than_the_budget_asks_for(lengths: list[int]) -> None:
    batches = pack(lengths, token_budget=4096, max_rows=64)
    for bucket in {batch.length for batch in batches}:
        sizes = [len(batch.rows) for batch in batches if batch.length == bucket]
        most = min(64, 4096 // bucket)
        assert (len(sizes) - 1) * most < sum(sizes) <= len(sizes) * most
        assert max(sizes) - min(sizes) <= 1


@given(st.integers(8, 1024))
def test_buckets_rise_to_the_maximum_length_and_no_further(max_length: int) -> None:
    buckets = buckets_up_to(max_length)
    assert list(buckets) == sorted(set(buckets))
    assert buckets[-1] == max_length
    assert all(bucket_of(length, buckets) - length < max(8, length / 4) for length in range(1, max_length + 1))


def test_buckets_by_default() -> None:
    assert BUCKETS[:10] == (8, 16, 24, 32, 40, 48, 56, 64, 80, 96)
    assert BUCKETS[-6:] == (224, 256, 320, 384, 448, 512)
    assert (bucket_of(24), bucket_of(25)) == (24, 32)


def test_a_row_that_no_bucket_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="a row of 33 tokens is longer than the longest bucket, 32"):
        pack([5, 33], buckets=buckets_up_to(32))


def test_a_row_over_the_budget_gets_its_own_batch() -> None:
    assert pack([100, 5, 120, 6], token_budget=64) == [Batch((1, 3), 8), Batch((0,), 112), Batch((2,), 128)]


def test_padding_of_a_batch() -> None:
    rows = [[1, 7, 2], [9], [1, 7, 8, 9, 2]]
    batch = Batch(rows=(2, 0), length=6)
    input_ids, attention_mask = padded(rows, batch, pad_id=4)
    assert input_ids.dtype == attention_mask.dtype == np.int64
    assert input_ids.tolist() == [[1, 7, 8, 9, 2, 4], [1, 7, 2, 4, 4, 4]]
    assert attention_mask.tolist() == [[1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0]]


def test_few_tokens_of_a_usual_mix_are_padding() -> None:
    lengths = np.random.default_rng(1).gamma(2.0, 18.0, size=5_000).astype(int).clip(4, 256).tolist()
    computed = sum(len(batch.rows) * batch.length for batch in pack(lengths))
    assert 1 - sum(lengths) / computed < 0.12
