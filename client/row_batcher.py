"""One queue by tokens for the rows of all callers.

A free place in flight takes the fairest row next (``fair_queue``) and fills its batch with rows of the same model and
padded length up to the token budget: a row is padded to its own bucket, whoever shares its batch. A row that several
callers want at the same time is computed once; a row that nobody wants any more is not computed.
"""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from client.errors import DeadlineExceededError, ReviewLensError, ServerUnavailableError
from client.fair_queue import FairQueue
from client.row_requests import (
    Answers,
    Arrays,
    Batch,
    BucketLane,
    Caller,
    Infer,
    InputIds,
    Model,
    NumberedRow,
    PendingRow,
    Request,
    row_answers,
)
from client.token_rate import TokenRate


@dataclass(frozen=True)
class QueueSnapshot:
    """What waits now. ``tokens_per_second`` is measured; 0 until a batch has been computed.

    ``queued_tokens`` are padded and wait in the queue; ``admitted_tokens`` are what all calls under way should still
    need, also for rows that are not planned yet.
    """

    queued_rows: int
    queued_tokens: int
    in_flight_batches: int
    tokens_per_second: float
    admitted_tokens: int = 0


class BatchObserver(Protocol):
    """What metrics hook into. Methods are called on the event loop and must be quick."""

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
        """A batch has been computed or has failed; ``queue_s`` is how long its longest waiting row waited."""


class RowBatcher:
    """Give it rows with ``infer``; as many batches as ``concurrency`` says are computed at a time."""

    def __init__(
        self,
        infer: Infer,
        *,
        buckets: Sequence[int],
        pad_id: int,
        token_budget: int,
        max_rows: int,
        concurrency: int,
        observer: BatchObserver | None = None,
    ) -> None:
        """``buckets`` are the padded lengths, ascending; ``infer`` raises ReviewLensError for a whole batch."""
        self._infer = infer
        self._buckets = buckets
        self._pad_id = pad_id
        self._concurrency = concurrency
        self._observer = observer
        self._lanes = {
            model: [BucketLane(model, length, token_budget, max_rows) for length in buckets]
            for model in get_args(Model)
        }
        self._queue = FairQueue(lane for lanes in self._lanes.values() for lane in lanes)
        self._rows: dict[tuple[Any, ...], PendingRow] = {}  # those that wait or are in flight
        self._requests: set[Request] = set()
        self._batches: set[Batch] = set()
        self._rate = TokenRate()
        self._dispatch_scheduled = False
        self._closed = False

    async def infer(
        self,
        model: Model,
        rows: Sequence[InputIds],
        caller: Caller,
        keyword_probs: Sequence[NDArray[np.float32]] | None = None,
    ) -> Answers:
        """Compute rows of token ids, special tokens included; ``keyword_probs`` [K] of each row for "sentiment".

        A row that failed, or was not answered by the caller's deadline, has its error among the answers. Whoever is
        cancelled while waiting here leaves the queue.

        Raises:
            ValueError: a row is longer than the longest bucket.
        """
        loop = asyncio.get_running_loop()
        request = Request(caller, len(rows), loop.create_future(), loop.time())
        if self._closed:
            request.fail(ServerUnavailableError("the connection to Triton is closed; open another one"))
        if not rows or self._closed:
            return request.finished(loop.time())
        if (longest := max(map(len, rows))) > self._buckets[-1]:
            raise ValueError(f"a row of {longest} tokens is longer than the longest bucket, {self._buckets[-1]}")
        probs = [None] * len(rows) if keyword_probs is None else keyword_probs
        self._enqueue(request, self._lanes[model], zip(range(len(rows)), rows, probs, strict=True))
        self._requests.add(request)
        try:
            async with asyncio.timeout_at(None if caller.deadline == math.inf else caller.deadline):
                await request.done
        except TimeoutError:
            error = DeadlineExceededError("the deadline of the call passed; send less or allow more time")
            request.answers = [error if answer is None else answer for answer in request.answers]
        finally:
            self._requests.discard(request)
            self._leave(request)
        return request.finished(loop.time())

    def snapshot(self) -> QueueSnapshot:
        """What waits and is in flight now; tokens are padded ones."""
        lanes = [lane for lanes in self._lanes.values() for lane in lanes]
        return QueueSnapshot(
            queued_rows=self._queue.rows,
            queued_tokens=sum(lane.rows * lane.length for lane in lanes),
            in_flight_batches=len(self._batches),
            tokens_per_second=self._rate.tokens_per_second,
        )

    async def close(self) -> None:
        """Fail what waits, and cancel what is in flight."""
        self._closed = True
        for request in self._requests:
            request.fail(ServerUnavailableError("the connection to Triton was closed before the answer came"))
        tasks = [batch.task for batch in self._batches if batch.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _enqueue(self, request: Request, lanes: Sequence[BucketLane], rows: Iterable[NumberedRow]) -> None:
        """Join the rows that are in flight, and queue the others."""
        now = asyncio.get_running_loop().time()
        to_queue: dict[BucketLane, list[PendingRow]] = {}
        for index, input_ids, probs in rows:
            lane = lanes[bisect_left(self._buckets, len(input_ids))]
            key = (lane, input_ids) if probs is None else (lane, input_ids, probs.tobytes())
            row = self._rows.get(key)
            if row is None:
                row = self._rows[key] = PendingRow(key, lane, input_ids, probs)
            elif row.wanted_by[-1][0] is request:
                row.wanted_by.append((request, index))  # twice in this request
                continue
            row.wanted_by.append((request, index))
            row.callers += 1
            request.rows.append(row)
            if row.batch is None:
                to_queue.setdefault(lane, []).append(row)
            else:
                row.batch.join(request, now)
        # Short rows first: they are answered soonest.
        for lane in sorted(to_queue, key=lambda lane: lane.length):
            new = 0
            for row in to_queue[lane]:
                new += not row.waiting
                row.waiting = True
            request.runs.append(self._queue.push(request.caller.flow, lane, new, to_queue[lane]))
        self._schedule_dispatch()

    def _leave(self, request: Request) -> None:
        """Drop what this request alone wanted."""
        for run in request.runs:
            run.leave()
        for row in request.rows:
            row.callers -= 1
            if row.waiting and not row.callers:
                row.waiting = False
                row.lane.rows -= 1
                del self._rows[row.key]
        for batch in request.batches:
            batch.requests.discard(request)
            if not batch.requests:
                self._end(batch, tokens=0)
                if batch.task:
                    batch.task.cancel()
        request.rows, request.runs = [], []

    def _end(self, batch: Batch, tokens: int) -> None:
        """Free the batch's place. Who comes with one of its rows from now on has it computed anew."""
        now = asyncio.get_running_loop().time()
        self._batches.discard(batch)
        self._rate.finished(now, tokens)
        for row in batch.rows:
            del self._rows[row.key]
            row.batch = None
        for request in batch.requests:
            request.batch_ended(batch, now)
        self._schedule_dispatch()

    def _schedule_dispatch(self) -> None:
        """Fill free places at the end of this turn of the event loop: calls that come together share batches."""
        if not self._dispatch_scheduled and not self._closed:
            self._dispatch_scheduled = True
            asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._dispatch_scheduled = False
        loop = asyncio.get_running_loop()
        while len(self._batches) < self._concurrency and (rows := self._queue.take()):
            batch = Batch(rows, loop.time())
            self._rate.started(batch.started, idle=not self._batches)
            self._batches.add(batch)
            batch.task = loop.create_task(self._compute(batch))

    async def _compute(self, batch: Batch) -> None:
        """Compute a batch and answer its requests. Cancelled when nobody waits for it, which ends it too."""
        answers: list[Arrays | ReviewLensError] = []
        error: ReviewLensError | None = None
        try:
            answers = row_answers(await self._infer(batch.inputs(self._pad_id)))
        except ReviewLensError as failure:
            error = failure
        except Exception as failure:  # noqa: BLE001  (a mistake in the code: whoever waits must hear of it)
            for request in batch.requests:
                request.crash(failure)
        now = asyncio.get_running_loop().time()
        self._end(batch, tokens=batch.padded_tokens if answers else 0)
        if isinstance(error, DeadlineExceededError):
            self._requeue(batch)
        if answers:
            batch.answer(answers, computed=True)
        elif error:
            batch.answer([error] * len(batch.rows), computed=False)
        if self._observer and (answers or error):
            queue_s, compute_s = batch.started - batch.waiting_since, now - batch.started
            tokens = sum(len(row.input_ids) for row in batch.rows)
            self._observer.batch_finished(
                batch.lane.model, len(batch.rows), tokens, batch.padded_tokens, queue_s, compute_s, error
            )

    def _requeue(self, batch: Batch) -> None:
        """Queue rows again for those who joined them in flight and have more time than the batch had."""
        for request in [request for request in batch.requests if request.caller.deadline > batch.deadline]:
            batch.requests.discard(request)
            rows = [
                (index, row.input_ids, row.keyword_probs)
                for row in batch.rows
                for wanting, index in row.wanted_by
                if wanting is request
            ]
            self._enqueue(request, self._lanes[batch.lane.model], rows)
