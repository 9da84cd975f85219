"""Shadow traffic: calls that the champion has answered go to the challenger, too, and the two are compared."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from contextvars import Context
from dataclasses import dataclass
from pathlib import Path

from reviewlens.v1.review_analysis_pb2 import ReviewAnalysis

from client.errors import InvalidInputError, ReviewLensError
from client.options import AnalysisOptions
from client.results import ReviewInput
from client.whole_files import write_whole
from server.front_door.deployment import Deployment
from server.front_door.metrics import Metrics
from server.front_door.rollout.journal import Journal, read_journal
from server.front_door.settings import Rollout
from server.front_door.status import unexpected

# What waits is bounded by its size: characters, and this many more for each review.
BACKLOG_CHARACTERS = 1_000_000
REVIEW_CHARACTERS = 100
# Calls at a time: the challenger merges them into batches as it would merge its own.
CALLS_AT_A_TIME = 4

_log = logging.getLogger(__name__)


def report_journal(settings: Rollout) -> Journal:
    """What ``rollout.report_file`` has so far.

    Raises:
        InvalidInputError: the file is there, and is no report.
    """
    if not settings.report_file or not Path(settings.report_file).exists():
        return Journal()
    try:
        return read_journal(Path(settings.report_file))
    except InvalidInputError as error:
        raise InvalidInputError(f"rollout.report_file: {error}") from None


@dataclass(frozen=True)
class AnsweredCall:
    """A call with the champion's answer, and the challenger to ask.

    ``champion`` is its model version and ``labels`` its label set. ``seconds`` is how long the answer took; None where
    it was not computed, but came from the cache.
    """

    reviews: Sequence[ReviewInput]
    options: AnalysisOptions
    champion: str
    labels: Sequence[str]
    analyses: Sequence[ReviewAnalysis]
    seconds: float | None
    challenger: Deployment

    @property
    def size(self) -> int:
        """What it takes of the backlog."""
        return sum(len(review.text) + REVIEW_CHARACTERS for review in self.reviews)


class Shadow:
    """Asks the challenger, a few calls at a time, and keeps the comparison in ``rollout.report_file``.

    Callers never wait for it: what does not fit into the backlog is dropped, and counted.
    """

    def __init__(self, settings: Rollout, deadline_s: float, metrics: Metrics) -> None:
        """``deadline_s`` bounds a call with the challenger.

        Raises:
            InvalidInputError: the report file is there, and is none.
        """
        self._settings = settings
        self._file = Path(settings.report_file) if settings.report_file else None
        self.journal = report_journal(settings)
        self._deadline_s = deadline_s
        self._metrics = metrics
        self._backlog: deque[AnsweredCall] = deque()
        self._backlog_size = 0
        self._workers: set[asyncio.Task[None]] = set()
        self._writing: asyncio.Task[None] | None = None
        self._written = self.journal.to_json()

    def start(self) -> None:
        """Write the report again and again, on the running event loop."""
        if self._file:
            self._writing = asyncio.create_task(self._write_again_and_again())

    async def close(self) -> None:
        """Drop what waits, and write the report for the last time."""
        while self._backlog:
            self._drop(self._take())
        tasks = [*self._workers, *filter(None, [self._writing])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._file:
            await self._write(self._file)

    def offer(self, call: AnsweredCall) -> None:
        """Have a call compared as soon as may be, or drop it when too much waits; returns at once."""
        if self._backlog and self._backlog_size + call.size > BACKLOG_CHARACTERS:
            self._drop(call)
            return
        self._backlog.append(call)
        self._backlog_size += call.size
        if len(self._workers) < CALLS_AT_A_TIME:
            # With no context of the call: its request id and trace end with it.
            worker = asyncio.get_running_loop().create_task(self._work(), context=Context())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def _work(self) -> None:
        while self._backlog:
            call = self._take()
            if call.challenger.problem is not None or call.challenger.retired:
                self._drop(call)
            else:
                await self._compare(call)

    def _take(self) -> AnsweredCall:
        call = self._backlog.popleft()
        self._backlog_size -= call.size
        return call

    async def _compare(self, call: AnsweredCall) -> None:
        started, url = time.perf_counter(), call.challenger.url
        comparison = self.journal.of(call.champion, call.challenger.model_version)
        try:
            async with call.challenger.use() as analyzer:
                labels = call.options.keywords or dict.fromkeys((*call.labels, *analyzer.labels.all_labels))
                analyses = await analyzer.analyze(call.reviews, options=call.options, deadline_s=self._deadline_s)
        except Exception as error:  # noqa: BLE001  (a challenger may fail as it likes)
            known = error if isinstance(error, ReviewLensError) else unexpected(error)
            comparison.add_failed_call(call.analyses, known.code)
            call.challenger.failed(known, url)
            self._metrics.shadow_reviews("failed", len(call.reviews))
            return
        if call.seconds is not None:
            comparison.champion_seconds.add(call.seconds)
            comparison.challenger_seconds.add(time.perf_counter() - started)
        comparison.add_call(call.analyses, analyses, tuple(labels), self._settings.report_examples)
        failed = sum(analysis.HasField("error") for analysis in analyses)
        self._metrics.shadow_reviews("compared", len(analyses) - failed)
        self._metrics.shadow_reviews("failed", failed)

    def _drop(self, call: AnsweredCall) -> None:
        self.journal.of(call.champion, call.challenger.model_version).dropped += len(call.reviews)
        self._metrics.shadow_reviews("dropped", len(call.reviews))

    async def _write_again_and_again(self) -> None:
        while self._file:
            await asyncio.sleep(self._settings.report_every_s)
            await self._write(self._file)

    async def _write(self, file: Path) -> None:
        """Write the report if there is something new in it. That it cannot be written must not end anything."""
        text = self.journal.to_json()
        if text == self._written:
            return
        try:
            await asyncio.to_thread(write_whole, file, text)
            self._written = text
        except ReviewLensError as error:
            _log.error("rollout.report_file: %s", error)
