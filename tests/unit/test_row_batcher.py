"""The batcher over a small model in this process: what a row's answer is can be told from the row."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.errors import DeadlineExceededError, InferenceError, ReviewLensError
from client.row_batcher import RowBatcher
from client.row_requests import BUDGET_SHARE, Arrays, Caller, InputIds, Model, RowBatch, row_answers

BUCKETS = (4, 8, 16)
BUDGET = 64
PAD = 0


# Answers have to be probabilities: sums of token ids as shares of a power of 2, which loses nothing.
SCALE = 2.0**20


@dataclass
class SumModel:
    """Answers each row with the sum of its attended tokens, when ``gate`` lets it."""

    gate: Callable[[RowBatch], Awaitable[None]] = lambda _: asyncio.sleep(0)
    batches: list[RowBatch] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    async def infer(self, batch: RowBatch) -> Arrays:
        self.batches.append(batch)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self.gate(batch)
        finally:
            self.in_flight -= 1
        sums = (batch.input_ids * batch.attention_mask).sum(axis=1).astype(np.float32)
        if batch.keyword_probs is not None:
            sums += batch.keyword_probs.sum(axis=1)
        return (sums[:, None] / SCALE,)

    @property
    def rows(self) -> list[InputIds]:
        """All rows that were computed, without their padding."""
        return [tuple(row[row != PAD].tolist()) for batch in self.batches for row in batch.input_ids]


class Gate:
    """Holds batches until ``open``; knows when the first one has come."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._open = asyncio.Event()

    async def __call__(self, batch: RowBatch) -> None:
        self.reached.set()
        await self._open.wait()

    def open(self) -> None:
        self._open.set()


def batcher(model: SumModel, *, concurrency: int = 1, token_budget: int = BUDGET, max_rows: int = 256) -> RowBatcher:
    return RowBatcher(
        model.infer,
        buckets=BUCKETS,
        pad_id=PAD,
        token_budget=token_budget,
        max_rows=max_rows,
        concurrency=concurrency,
    )


def rows_of(count: int, first: int = 1, length: int = 4) -> list[InputIds]:
    return [(first + number,) * length for number in range(count)]


def sums(answers: list[Arrays | ReviewLensError]) -> list[float]:
    return [answer[0].item() * SCALE for answer in answers if not isinstance(answer, ReviewLensError)]


def is_idle(batcher: RowBatcher) -> bool:
    """Nothing is left of anything, in the queue or the books."""
    snapshot = batcher.snapshot()
    counts = snapshot.queued_rows, snapshot.queued_tokens, snapshot.in_flight_batches
    return counts == (0, 0, 0) and not batcher._rows and not batcher._requests


ROW = st.lists(st.integers(1, 3), min_size=1, max_size=16).map(tuple)
CALL = st.tuples(
    st.sampled_from(["analysis", "keywords"]),
    st.lists(ROW, max_size=30),
    st.integers(0, 6),  # turns of the event loop before it comes
    st.none() | st.integers(0, 8),  # and before it is cancelled
)


@given(calls=st.lists(CALL, max_size=8), delays=st.lists(st.integers(0, 4), max_size=20), concurrency=st.integers(1, 4))
@settings(max_examples=150)
def test_every_row_gets_its_own_answer_whatever_the_interleaving(
    calls: list[tuple[Model, list[InputIds], int, int | None]], delays: list[int], concurrency: int
) -> None:
    async def wait(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    async def run() -> None:
        pending = iter(delays)
        model = SumModel(gate=lambda _: wait(next(pending, 1)))
        queue = batcher(model, concurrency=concurrency, max_rows=7)

        async def call(kind: Model, rows: list[InputIds], comes: int, leaves: int | None) -> None:
            await wait(comes)
            task = asyncio.create_task(queue.infer(kind, rows, Caller()))
            if leaves is not None:
                await wait(leaves)
                task.cancel()
            try:
                answers = await task
            except asyncio.CancelledError:
                assert leaves is not None
            else:
                assert sums(answers.rows) == [float(sum(row)) for row in rows]

        await asyncio.gather(*(call(*each) for each in calls))
        await wait(3)
        assert is_idle(queue)
        assert model.in_flight == 0
        assert model.most_in_flight <= concurrency
        for batch in model.batches:
            count, length = batch.input_ids.shape
            assert length in BUCKETS
            assert count == 1 or (count <= 7 and count * length <= BUDGET * BUDGET_SHARE[batch.model])
            lengths = batch.attention_mask.sum(axis=1)
            shorter = max((bucket for bucket in BUCKETS if bucket < length), default=0)
            assert all(shorter < lengths), "a row is padded to its own bucket"

    asyncio.run(run())


async def test_the_rows_that_wait_are_cut_into_equal_batches() -> None:
    model = SumModel()
    await batcher(model).infer("keywords", rows_of(17), Caller())
    assert [len(batch.input_ids) for batch in model.batches] == [9, 8]


async def test_calls_that_come_together_share_a_batch() -> None:
    model = SumModel()
    queue = batcher(model, concurrency=4)
    await asyncio.gather(*(queue.infer("keywords", rows_of(1, first), Caller()) for first in (10, 20, 30)))
    assert [len(batch.input_ids) for batch in model.batches] == [3]


async def test_a_short_call_overtakes_a_long_one() -> None:
    gate = Gate()
    model = SumModel(gate)
    queue = batcher(model)
    long = asyncio.create_task(queue.infer("keywords", rows_of(1600, length=8), Caller()))
    await gate.reached.wait()
    short = asyncio.create_task(queue.infer("keywords", rows_of(2, first=5000), Caller()))
    await asyncio.sleep(0)
    gate.open()
    assert sums((await short).rows) == [4 * 5000.0, 4 * 5001.0]
    assert len(model.batches) <= 3
    assert not long.done()
    assert len(sums((await long).rows)) == 1600


async def test_two_long_calls_take_turns() -> None:
    gate = Gate()
    model = SumModel(gate)
    queue = batcher(model)
    calls = [asyncio.create_task(queue.infer("keywords", rows_of(160, first), Caller())) for first in (1, 1001)]
    await gate.reached.wait()
    gate.open()
    await asyncio.gather(*calls)
    half = model.rows[:160]
    assert 70 <= sum(row[0] > 1000 for row in half) <= 90


async def test_a_caller_that_has_had_much_waits_for_one_that_has_had_little() -> None:
    """The share is the caller's, over all that it asks for."""
    gate = Gate()
    model = SumModel(gate)
    queue = batcher(model)
    heavy, light = Caller(), Caller()
    first = asyncio.create_task(queue.infer("keywords", rows_of(64), heavy))
    await gate.reached.wait()
    again = asyncio.create_task(queue.infer("keywords", rows_of(16, first=2000), heavy))
    await asyncio.sleep(0)
    other = asyncio.create_task(queue.infer("keywords", rows_of(16, first=3000), light))
    await asyncio.sleep(0)
    gate.open()
    await asyncio.gather(first, again, other)
    order = [row[0] for row in model.rows]
    assert order.index(3000) < order.index(2000)


async def test_identical_rows_are_computed_once() -> None:
    gate = Gate()
    model = SumModel(gate)
    queue = batcher(model)
    in_flight = asyncio.create_task(queue.infer("keywords", rows_of(3), Caller()))
    await gate.reached.wait()
    joins = asyncio.create_task(queue.infer("keywords", rows_of(3) + rows_of(2, first=50), Caller()))
    waits_too = asyncio.create_task(queue.infer("keywords", [*rows_of(2, first=50), *rows_of(2, first=50)], Caller()))
    other_model = asyncio.create_task(queue.infer("analysis", rows_of(1), Caller()))
    await asyncio.sleep(0)
    gate.open()
    answers = [(await call).rows for call in (in_flight, joins, waits_too, other_model)]
    assert [sums(rows) for rows in answers] == [[4, 8, 12], [4, 8, 12, 200, 204], [200, 204, 200, 204], [4]]
    assert sorted(model.rows) == sorted([*rows_of(3), *rows_of(2, first=50), *rows_of(1)])


async def test_rows_with_other_keyword_probabilities_are_other_rows() -> None:
    model = SumModel()
    probs = [np.array(values, np.float32) for values in ([0, 1], [1, 1], [0, 1])]
    answers = await batcher(model).infer("sentiment", rows_of(1) * 3, Caller(), probs)
    assert sums(answers.rows) == [5, 6, 5]
    assert len(model.rows) == 2


async def test_rows_of_departed_callers_are_not_computed() -> None:
    gate = Gate()
    model = SumModel(gate)
    queue = batcher(model)
    first = asyncio.create_task(queue.infer("keywords", rows_of(1), Caller()))
    await gate.reached.wait()
    leaver = asyncio.create_task(queue.infer("keywords", rows_of(40, first=100), Caller()))
    stayer = asyncio.create_task(queue.infer("keywords", rows_of(3, first=120), Caller()))
    await asyncio.sleep(0)
    assert queue.snapshot().queued_rows == 40
    assert queue.snapshot().queued_tokens == 160
    leaver.cancel()
    await asyncio.wait([leaver])
    assert queue.snapshot().queued_rows == 3
    gate.open()
    assert sums((await stayer).rows) == [480, 484, 488]
    await first
    assert sorted(model.rows) == [*rows_of(1), *rows_of(3, first=120)]
    assert is_idle(queue)


async def test_a_batch_that_nobody_waits_for_gives_its_place_back() -> None:
    gate = Gate()
    model = SumModel(gate)
    queue = batcher(model)
    leaver = asyncio.create_task(queue.infer("keywords", rows_of(2), Caller()))
    await gate.reached.wait()
    waiting = asyncio.create_task(queue.infer("keywords", rows_of(1, first=9), Caller()))
    await asyncio.sleep(0)
    leaver.cancel()
    await asyncio.wait([leaver])
    await asyncio.sleep(0.01)
    assert len(model.batches) == 2
    assert model.most_in_flight == 1
    gate.open()
    assert sums((await waiting).rows) == [36]


async def test_each_caller_stops_waiting_at_its_own_deadline() -> None:
    gate = Gate()
    model = SumModel(gate)
    queue = batcher(model)
    now = asyncio.get_running_loop().time()
    hasty, patient = Caller(deadline=now + 0.02), Caller(deadline=now + 30)
    calls = [
        asyncio.create_task(queue.infer("keywords", rows_of(1, first), caller))
        for first, caller in ((1, hasty), (7, patient))
    ]
    answers = (await calls[0]).rows
    assert isinstance(answers[0], DeadlineExceededError)
    assert not calls[1].done()
    gate.open()
    assert sums((await calls[1]).rows) == [28]
    assert [batch.deadline for batch in model.batches] == [patient.deadline]


async def test_a_deadline_that_has_passed_computes_nothing() -> None:
    model = SumModel()
    queue = batcher(model)
    answers = await queue.infer("keywords", rows_of(2), Caller(deadline=asyncio.get_running_loop().time() - 1))
    assert [type(answer) for answer in answers.rows] == [DeadlineExceededError] * 2
    assert is_idle(queue)


async def test_who_joined_a_batch_with_more_time_than_it_had_is_answered_by_another() -> None:
    gate = Gate()
    loop = asyncio.get_running_loop()

    async def until_the_deadline(batch: RowBatch) -> None:
        gate.reached.set()
        if batch.deadline < math.inf:
            await asyncio.sleep(batch.deadline - loop.time())
            raise DeadlineExceededError("too late")

    model = SumModel(until_the_deadline)
    queue = batcher(model)
    hasty = asyncio.create_task(queue.infer("keywords", rows_of(2), Caller(deadline=loop.time() + 0.02)))
    await gate.reached.wait()
    patient = asyncio.create_task(queue.infer("keywords", rows_of(3), Caller()))
    assert {type(answer) for answer in (await hasty).rows} == {DeadlineExceededError}
    assert sums((await patient).rows) == [4, 8, 12]
    assert is_idle(queue)


async def test_a_failed_batch_fails_its_own_rows_only() -> None:
    async def fail_long_rows(batch: RowBatch) -> None:
        if batch.input_ids.shape[1] > 4:
            raise InferenceError("broken")

    queue = batcher(SumModel(fail_long_rows))
    answers = (await queue.infer("keywords", [*rows_of(2), *rows_of(1, length=8)], Caller())).rows
    assert sums(answers) == [4, 8]
    assert isinstance(answers[2], InferenceError)
    assert is_idle(queue)


async def test_a_mistake_in_the_model_is_raised_where_the_caller_waits() -> None:
    async def crash(_: RowBatch) -> None:
        raise KeyError("mistake")

    queue = batcher(SumModel(crash))
    with pytest.raises(KeyError, match="mistake"):
        await queue.infer("keywords", rows_of(1), Caller())
    assert is_idle(queue)


async def test_a_mistake_in_a_callers_progress_fails_this_caller_only() -> None:
    def crash(_: int) -> None:
        raise KeyError("mistake")

    queue = batcher(SumModel())
    calls = [
        queue.infer("keywords", rows_of(2), Caller(count_rows=crash)),
        queue.infer("keywords", rows_of(2), Caller()),
    ]
    crashed, answers = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(crashed, KeyError)
    assert not isinstance(answers, BaseException)
    assert sums(answers.rows) == [4, 8]


async def test_the_times_are_waiting_and_computing() -> None:
    queue = batcher(SumModel(lambda _: asyncio.sleep(0.03)))
    blocking = asyncio.create_task(queue.infer("keywords", rows_of(1), Caller()))
    await asyncio.sleep(0.01)
    start = asyncio.get_running_loop().time()
    answers = await queue.infer("keywords", rows_of(1, first=9), Caller())
    passed = asyncio.get_running_loop().time() - start
    await blocking
    assert 0.01 < answers.queue_s < passed - 0.02
    assert 0.02 < answers.compute_s < passed
    assert answers.queue_s + answers.compute_s == pytest.approx(passed, abs=0.03)


async def test_metadata_is_the_first_rows_callers() -> None:
    model = SumModel()
    queue = batcher(model)
    callers = [Caller(metadata={"traceparent": name}) for name in ("a", "b")]
    await asyncio.gather(*(queue.infer("keywords", rows_of(1, 1 + number), c) for number, c in enumerate(callers)))
    assert [batch.metadata for batch in model.batches] == [{"traceparent": "a"}]


@dataclass
class Recorder:
    seen: list[tuple[str, int, int, int, str]] = field(default_factory=list)

    def batch_finished(
        self,
        model: str,
        rows: int,
        tokens: int,
        padded_tokens: int,
        queue_s: float,
        compute_s: float,
        error: ReviewLensError | None,
    ) -> None:
        assert queue_s >= 0
        assert compute_s >= 0
        self.seen.append((model, rows, tokens, padded_tokens, error.code if error else ""))


async def test_the_observer_is_told_each_batch() -> None:
    async def fail_long_rows(batch: RowBatch) -> None:
        if batch.input_ids.shape[1] > 8:
            raise InferenceError("broken")

    recorder = Recorder()
    queue = RowBatcher(
        SumModel(fail_long_rows).infer,
        buckets=BUCKETS,
        pad_id=PAD,
        token_budget=BUDGET,
        max_rows=9,
        concurrency=1,
        observer=recorder,
    )
    await queue.infer("keywords", [*rows_of(2, length=5), *rows_of(1, length=9)], Caller())
    assert recorder.seen == [("keywords", 2, 10, 16, ""), ("keywords", 1, 9, 16, "INTERNAL")]
    assert queue.snapshot().tokens_per_second > 0


async def test_a_closed_batcher_fails_what_waits_and_what_comes() -> None:
    gate = Gate()
    model = SumModel(gate)
    queue = batcher(model)
    waiting = asyncio.create_task(queue.infer("keywords", rows_of(40), Caller()))
    await gate.reached.wait()
    await queue.close()
    for answers in (await waiting, await queue.infer("keywords", rows_of(2), Caller())):
        assert {answer.code for answer in answers.rows if isinstance(answer, ReviewLensError)} == {"UNAVAILABLE"}
    assert len(model.batches) == 1
    assert is_idle(queue)


async def test_a_row_that_no_bucket_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="a row of 17 tokens is longer than the longest bucket, 16"):
        await batcher(SumModel()).infer("keywords", rows_of(1, length=17), Caller())


@pytest.mark.parametrize("wrong", [math.nan, -0.1, 1.1, math.inf])
def test_a_row_whose_values_are_no_probabilities_fails_alone(wrong: float) -> None:
    keyword_probs, sentiment_probs = np.full((3, 2), 0.5, np.float32), np.full((3, 3, 5), 0.2, np.float32)
    sentiment_probs[1, 2, 4] = wrong
    first, second, third = row_answers((keyword_probs, sentiment_probs))
    assert isinstance(second, InferenceError)
    for answer in (first, third):
        assert not isinstance(answer, ReviewLensError)
        assert [values.shape for values in answer] == [(2,), (3, 5)]
