"""What a ``RowBatcher`` keeps: callers, their requests, rows that wait or are computed, and batches in flight."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from client.batching import pad_rows
from client.errors import InferenceError, ReviewLensError
from client.fair_queue import Flow, Lane, Run

Model = Literal["analysis", "keywords", "sentiment"]
InputIds = tuple[int, ...]
Arrays = tuple[NDArray[np.float32], ...]

# The sentiment model reads a review once for each of its keywords and once more: it takes several times the memory and
# time that the review's tokens take in the keyword classifier, so its batches are that much smaller.
BUDGET_SHARE: Mapping[Model, float] = {"analysis": 0.25, "keywords": 1.0, "sentiment": 0.25}


@dataclass(frozen=True)
class RowBatch:
    """What one inference gets: ``input_ids`` and ``attention_mask`` INT64 [B,L], ``keyword_probs`` FP32 [B,K] for
    "sentiment" only. ``deadline`` is a time of the event loop's clock, ``metadata`` belongs to the first row's caller.
    """

    model: Model
    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    keyword_probs: NDArray[np.float32] | None
    deadline: float
    metadata: Mapping[str, str] | None


Infer = Callable[[RowBatch], Awaitable[Arrays]]


@dataclass(eq=False)
class Caller:
    """One call, over all of its rows: until when it waits, in the event loop's time, and its share of the queue.

    ``count_rows`` is told how many of its rows a finished batch has answered.
    """

    deadline: float = math.inf
    metadata: Mapping[str, str] | None = None
    count_rows: Callable[[int], None] = lambda rows: None
    flow: Flow = field(default_factory=Flow)


@dataclass(frozen=True)
class Answers:
    """For each row its part of every output, or what went wrong. The seconds add up to those of the ``infer`` call:
    ``compute_s`` is the time in which at least one of its rows was in flight.
    """

    rows: list[Arrays | ReviewLensError]
    queue_s: float
    compute_s: float


class BucketLane(Lane["PendingRow"]):
    """The queued rows of one model that are padded to ``length`` tokens."""

    def __init__(self, model: Model, length: int, token_budget: int, max_rows: int) -> None:
        budget = token_budget * BUDGET_SHARE[model]
        super().__init__(most=max(1, min(max_rows, int(budget / length))), cost=length / BUDGET_SHARE[model])
        self.model = model
        self.length = length


NumberedRow = tuple[int, InputIds, NDArray[np.float32] | None]


@dataclass(eq=False, slots=True)
class PendingRow:
    """A row that waits or is in flight, and the places in requests' answers that wait for it.

    ``callers`` counts the requests that have not left, ``batch`` is set while it is in flight.
    """

    key: tuple[Any, ...]
    lane: BucketLane
    input_ids: InputIds
    keyword_probs: NDArray[np.float32] | None
    wanted_by: list[tuple[Request, int]] = field(default_factory=list)
    callers: int = 0
    waiting: bool = False
    batch: Batch | None = None


class Request:
    """One ``infer`` call: its answers so far and where its rows are."""

    def __init__(self, caller: Caller, count: int, done: asyncio.Future[None], now: float) -> None:
        self.caller = caller
        self.done = done
        self.asked = now
        self.answers: list[Arrays | ReviewLensError | None] = [None] * count
        self.rows: list[PendingRow] = []
        self.runs: list[Run[PendingRow]] = []
        self.batches: set[Batch] = set()
        self._missing = count
        self._queue_s = self._compute_s = 0.0
        self._since = now

    def batch_started(self, batch: Batch, now: float) -> None:
        """Some of the rows are in flight from now on."""
        if not self.batches:
            self._queue_s += now - self._since
            self._since = now
        self.batches.add(batch)

    def batch_ended(self, batch: Batch, now: float) -> None:
        """They are not in flight any more."""
        self.batches.discard(batch)
        if not self.batches:
            self._compute_s += now - self._since
            self._since = now

    def fail(self, error: ReviewLensError) -> None:
        """Answer with the error what has no answer yet."""
        self.answers = [error if answer is None else answer for answer in self.answers]
        if not self.done.done():
            self.done.set_result(None)

    def crash(self, error: Exception) -> None:
        """Raise the error where the call waits."""
        if not self.done.done():
            self.done.set_exception(error)

    def answered(self, count: int, *, computed: bool) -> None:
        """So many more of the answers have come."""
        if computed:
            try:
                self.caller.count_rows(count)
            except Exception as error:  # noqa: BLE001  (the caller's own mistake: it fails the caller alone)
                self.crash(error)
        self._missing -= count
        if not self._missing and not self.done.done():
            self.done.set_result(None)

    def finished(self, now: float) -> Answers:
        """What ``infer`` gives back."""
        passed = now - self._since
        queue_s, compute_s = (0.0, passed) if self.batches else (passed, 0.0)
        rows = [answer for answer in self.answers if answer is not None]
        return Answers(rows, self._queue_s + queue_s, self._compute_s + compute_s)


class Batch:
    """Rows that are in flight together, and the requests that wait for them."""

    __slots__ = ("deadline", "lane", "requests", "rows", "started", "task", "waiting_since")

    def __init__(self, rows: list[PendingRow], now: float) -> None:
        self.lane = rows[0].lane
        self.rows = rows
        self.started = self.waiting_since = now
        self.requests: set[Request] = set()
        self.task: asyncio.Task[None] | None = None
        for row in rows:
            row.batch = self
            for request, _ in row.wanted_by:
                if not request.done.done():
                    self.waiting_since = min(self.waiting_since, request.asked)
                    self.join(request, now)
        self.deadline = max((request.caller.deadline for request in self.requests), default=math.inf)

    @property
    def padded_tokens(self) -> int:
        """Tokens that are computed, padding counted."""
        return len(self.rows) * self.lane.length

    def join(self, request: Request, now: float) -> None:
        """One more waits for a row of this batch."""
        if request not in self.requests:
            self.requests.add(request)
            request.batch_started(self, now)

    def inputs(self, pad_id: int) -> RowBatch:
        """What is sent. Padded only when its turn has come: most of a call's memory would be padding otherwise."""
        input_ids, attention_mask = pad_rows([row.input_ids for row in self.rows], self.lane.length, pad_id)
        given = [row.keyword_probs for row in self.rows if row.keyword_probs is not None]
        metadata = next(
            (request.caller.metadata for request, _ in self.rows[0].wanted_by if request in self.requests), None
        )
        return RowBatch(
            self.lane.model, input_ids, attention_mask, np.stack(given) if given else None, self.deadline, metadata
        )

    def answer(self, answers: Sequence[Arrays | ReviewLensError], *, computed: bool) -> None:
        """Hand each row's answer to everyone who waits for it."""
        counts: dict[Request, int] = {}
        for row, answer in zip(self.rows, answers, strict=True):
            for request, index in row.wanted_by:
                if request in self.requests:
                    request.answers[index] = answer
                    counts[request] = counts.get(request, 0) + 1
        for request, count in counts.items():
            request.answered(count, computed=computed)


def row_answers(outputs: Sequence[NDArray[np.float32]]) -> list[Arrays | ReviewLensError]:
    """The outputs [B,...] of a batch by row.

    A row with values that are no probabilities gets an error of its own: the model's fault with one review must not
    fail the reviews of others that share its batch.
    """
    sound = np.ones(len(outputs[0]), dtype=bool)
    for values in outputs:
        # Written so that NaN fails it too.
        sound &= ((values >= 0) & (values <= 1)).reshape(len(values), -1).all(axis=1)
    if sound.all():
        return list(zip(*outputs, strict=True))
    error = InferenceError(
        "the model's answer to this review holds values outside [0, 1]; its weights or precision are broken"
    )
    return [row if valid else error for row, valid in zip(zip(*outputs, strict=True), sound, strict=True)]
