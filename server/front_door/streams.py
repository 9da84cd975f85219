"""One AnalyzeStream call: reads reviews, gathers them into groups, and writes the answers as groups finish.

A group is one call to the analyzer: many small calls would cost several times the Python, and their masks would reach
Triton in small batches. The first review goes alone, at once; those that arrive while others are under way wait for
company, for a few milliseconds. So a slow stream pays with next to no latency, and a fast one is computed like calls
of many reviews. A long review goes alone, because the others of its group would wait for all of its masks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from reviewlens.v1 import review_analysis_service_pb2 as pb
from reviewlens.v1.review_analysis_pb2 import ReviewAnalysis

from client.errors import InvalidInputError, OverloadedError, ReviewLensError
from client.options import AnalysisOptions
from client.results import ReviewInput, failed_analysis
from client.timings import Timings
from server.front_door.requests import options_of, parse, review_of, timings_message
from server.front_door.settings import Limits
from server.front_door.status import Context, unexpected

# Longer than a client takes to send some dozens of messages, shorter than anybody notices.
GATHER_S = 0.01
# The masks of so long a review are a batch by themselves.
ALONE_CHARACTERS = 300

Analyze = Callable[[Sequence[ReviewInput], AnalysisOptions, float], Awaitable[tuple[list[ReviewAnalysis], Timings]]]


@dataclass(frozen=True)
class _Read:
    """A review that was read, and when."""

    review: ReviewInput
    options: AnalysisOptions
    at: float


class ReviewStream:
    """Answers what one call sends; ``answer_all`` does everything."""

    def __init__(
        self,
        context: Context,
        analyze: Analyze,
        deadline_s: Callable[[], float],
        count: Callable[[Sequence[ReviewAnalysis], Timings], None],
        limits: Limits,
        defaults: AnalysisOptions,
    ) -> None:
        """``analyze`` gets reviews with the same options, and a deadline in seconds; ``deadline_s`` tells how long a
        group that starts now may take; ``count`` is told of every group's answer.
        """
        self._context = context
        self._analyze = analyze
        self._deadline_s = deadline_s
        self._count = count
        self._limits = limits
        self._defaults = defaults
        self._most = max(1, limits.max_stream_reviews // 2)  # so that one group is computed while the next gathers
        self._room = asyncio.Semaphore(limits.max_stream_reviews)
        self._writing = asyncio.Lock()
        self._gathered: list[_Read] = []
        self._groups_under_way = 0
        self._timer: asyncio.TimerHandle | None = None
        self._tasks = asyncio.TaskGroup()
        self._clock = asyncio.get_running_loop().time

    async def answer_all(self, draining: asyncio.Event) -> bool:
        """Answer all that is read until the client has sent everything (True) or ``draining`` is set (False).

        Raises:
            ReviewLensError: what was wrong with the last message; the reviews before it have been answered.
        """
        async with self._tasks:
            reading = self._tasks.create_task(self._read())
            stopping = self._tasks.create_task(draining.wait())
            try:
                await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
                reading.cancel()
                stopping.cancel()
                await asyncio.wait({reading})
            except asyncio.CancelledError:
                self._stop_timer()  # nobody waits any more for what has gathered
                raise
            self._send()
        if reading.cancelled():
            return False
        if failure := reading.result():
            raise failure
        return True

    async def _read(self) -> ReviewLensError | None:
        """Take each message as soon as there is room; what was wrong with the last one."""
        while True:
            await self._room.acquire()
            data: Any = await self._context.read()
            if data is grpc.aio.EOF:
                return None
            try:
                request = parse(pb.AnalyzeStreamRequest, data, self._limits.max_message_bytes)
                review, options = review_of(request), options_of(request.options, self._defaults, self._limits)
            except ReviewLensError as error:
                return error
            self._gather(_Read(review, options, self._clock()))

    def _gather(self, read: _Read) -> None:
        alone = len(read.review.text) > ALONE_CHARACTERS
        if self._gathered and (alone or read.options != self._gathered[0].options):
            self._send()
        self._gathered.append(read)
        if alone or not self._groups_under_way or len(self._gathered) == self._most:
            self._send()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_S, self._send)

    def _send(self) -> None:
        """Have the group that has gathered answered."""
        self._stop_timer()
        group, self._gathered = self._gathered, []
        if group:
            self._groups_under_way += 1
            self._tasks.create_task(self._answer(group))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _answer(self, group: Sequence[_Read]) -> None:
        try:
            await self._answer_together(group)
        finally:
            self._groups_under_way -= 1
        if not self._groups_under_way:
            self._send()

    async def _answer_together(self, group: Sequence[_Read]) -> None:
        """Answer a group, one by one where it fails in a way that need not concern them all."""
        started = self._clock()
        try:
            analyses, timings = await self._analyze_when_possible(group)
        except Exception as error:  # noqa: BLE001  (one review's failure is no other's)
            of_the_group = isinstance(error, OverloadedError | InvalidInputError) or not isinstance(
                error, ReviewLensError
            )
            if len(group) > 1 and of_the_group:
                async with asyncio.TaskGroup() as tasks:
                    for read in group:
                        tasks.create_task(self._answer_together([read]))
                return
            failure = error if isinstance(error, ReviewLensError) else unexpected(error)
            analyses, timings = [failed_analysis(read.review, failure) for read in group], Timings()
        await self._write(analyses, timings + Timings(queue_s=started - group[0].at))

    async def _analyze_when_possible(self, group: Sequence[_Read]) -> tuple[list[ReviewAnalysis], Timings]:
        """Analyze a group; a single review as soon as the queue has room for it."""
        deadline = self._clock() + self._deadline_s()
        while True:
            try:
                reviews = [read.review for read in group]
                return await self._analyze(reviews, group[0].options, deadline - self._clock())
            except OverloadedError as error:
                if len(group) > 1 or self._clock() + error.retry_after_s >= deadline:
                    raise
                await asyncio.sleep(error.retry_after_s)

    async def _write(self, analyses: Sequence[ReviewAnalysis], timings: Timings) -> None:
        """Write the answers, and give the room of each back."""
        self._count(analyses, timings)
        message = timings_message(timings)
        for analysis in analyses:
            async with self._writing:
                await self._context.write(pb.AnalyzeStreamResponse(analysis=analysis, timings=message))
            self._room.release()
