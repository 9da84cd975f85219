"""The analyzer that services import: reviews in, keywords with sentiments and highlights out.

    artifact = Artifact.load(served_artifact_folder(Path("model_repository")))
    async with await ReviewAnalyzer.connect("localhost:8001", artifact) as analyzer:
        analyses = await analyzer.analyze(["배송은 빠른데 핏이 아쉬워요"])

Reviews go through in chunks: the next one is read and tokenized while this one is computed, so memory stays bounded
however long the input is. The rows of all calls go through one ``RowBatcher``.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from reviewlens.v1.review_analysis_pb2 import ReviewAnalysis

from client.admission import TokenAdmission, TokenEstimate
from client.artifact import Artifact
from client.batching import buckets_up_to
from client.chunks import Chunk, InputRow, plan_chunk, read_chunks
from client.encoding import Encoder
from client.errors import ReviewLensError, ServerUnavailableError
from client.inference import ChunkInference
from client.model_times import ModelTimes
from client.options import AnalysisOptions, BatchingOptions
from client.results import InvalidRow, ReviewInput, failed_analysis, finished_analysis
from client.row_batcher import BatchObserver, QueueSnapshot, RowBatcher
from client.row_requests import Arrays, Caller, RowBatch, row_answers
from client.timings import Timings
from client.transport import TritonTransport

# Up to here tokenizing takes less time than handing it to a thread and back.
CHARACTERS_TOKENIZED_AT_ONCE = 1000


@dataclass(frozen=True)
class Progress:
    """What a stream has done so far: reviews finished, and rows computed for these and for the ones under way."""

    reviews: int
    rows: int


class ReviewAnalyzer:
    """Analyzes reviews with one version of the models on one Triton. Made to be shared by concurrent calls.

    ``model_version`` is that of every result, ``labels`` and ``artifact`` are what it was exported with.
    """

    def __init__(
        self,
        transport: TritonTransport,
        artifact: Artifact,
        options: AnalysisOptions | None = None,
        batching: BatchingOptions | None = None,
        observer: BatchObserver | None = None,
    ) -> None:
        """Use a connected transport, which the analyzer closes with itself; ``connect`` is the short way.

        ``options`` are those of calls that bring none.

        Raises:
            InvalidInputError: the options name a keyword that the label set does not have.
        """
        self.model_version = artifact.labels.model_version or transport.version
        self.artifact = artifact
        self.labels = artifact.labels
        self._transport = transport
        self._options = options or AnalysisOptions()
        self.validate(self._options)
        batching = batching or BatchingOptions()
        self._encoder = Encoder(artifact)
        self._batcher = RowBatcher(
            self._infer,
            buckets=buckets_up_to(self._encoder.max_length),
            pad_id=self._encoder.pad_id,
            token_budget=batching.token_budget,
            max_rows=min(batching.max_rows, transport.max_rows),
            concurrency=batching.concurrency,
            observer=observer,
        )
        self._model_times = ModelTimes(transport)
        self._estimate = TokenEstimate(self._encoder.max_length)
        self._admission = TokenAdmission(batching.max_queued_tokens, lambda: self._batcher.snapshot().tokens_per_second)
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    @classmethod
    async def connect(
        cls,
        url: str,
        artifact: Artifact,
        options: AnalysisOptions | None = None,
        batching: BatchingOptions | None = None,
        *,
        observer: BatchObserver | None = None,
    ) -> Self:
        """Connect to the Triton at ``url`` ("host:port" of its gRPC) and check that it runs the artifact's model.

        Raises:
            ServerUnavailableError, ModelMismatchError, ArtifactError: see ``TritonTransport.connect``.
            InvalidInputError: the options name a keyword that the label set does not have.
        """
        batching = batching or BatchingOptions()
        transport = await TritonTransport.connect(url, artifact, request_timeout_s=batching.request_timeout_s)
        try:
            return cls(transport, artifact, options, batching, observer)
        except BaseException:
            await transport.close()
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self, drain_s: float = 0) -> None:
        """Take no more calls, let those under way finish for at most ``drain_s`` seconds, and close the connection.

        Reviews of calls that are cut off have UNAVAILABLE as their error.
        """
        self._closed = True
        try:
            async with asyncio.timeout(drain_s):
                await self._idle.wait()
        except TimeoutError:
            pass
        await self._batcher.close()
        await self._transport.close()

    def validate(self, options: AnalysisOptions) -> None:
        """Check the names in the options against the model's label set.

        Raises:
            InvalidInputError: names the keyword that the label set does not have.
        """
        options.validate(self.labels)

    async def probe(self, deadline_s: float) -> None:
        """Have both models compute one short row within ``deadline_s`` seconds, past the queue.

        Raises:
            ServerUnavailableError, DeadlineExceededError, InferenceError: they do not.
        """
        row = np.array([[self._encoder.cls_id, self._encoder.mask_id, self._encoder.sep_id]])
        deadline = asyncio.get_running_loop().time() + deadline_s
        (answer,) = row_answers(await self._transport.infer_analysis(row, np.ones_like(row), deadline))
        if isinstance(answer, ReviewLensError):
            raise answer

    def snapshot(self) -> QueueSnapshot:
        """What waits now. ``admitted_tokens`` are those that ``max_queued_tokens`` bounds."""
        return replace(self._batcher.snapshot(), admitted_tokens=self._admission.held)

    async def analyze(
        self,
        reviews: Sequence[ReviewInput | str],
        *,
        options: AnalysisOptions | None = None,
        deadline_s: float | None = None,
    ) -> list[ReviewAnalysis]:
        """Analyze reviews; the result has one message for each, in order. Plain texts get their number, from 1, as id.

        A review that fails (invalid text, Triton gone, deadline) has its ``error`` set; the others are whole.
        ``deadline_s`` bounds this call, besides the bound of each request. Who is cancelled while waiting here has
        its rows taken out of the queue.

        Raises:
            OverloadedError: what is under way leaves no room for the call's tokens, or no time before its deadline;
                nothing was done. A single review above ``max_queued_tokens`` is taken when nothing else is under way.
            InvalidInputError: the options name a keyword that the label set does not have, or several reviews
                together are above ``max_queued_tokens``.
            ServerUnavailableError: the analyzer is closed.
        """
        analyses, _ = await self.analyze_timed(reviews, options=options, deadline_s=deadline_s)
        return analyses

    async def analyze_timed(
        self,
        reviews: Sequence[ReviewInput | str],
        *,
        options: AnalysisOptions | None = None,
        deadline_s: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> tuple[list[ReviewAnalysis], Timings]:
        """Like ``analyze``, with the time that each stage took.

        ``metadata`` is gRPC metadata (a trace's context) for the requests to Triton; where rows of several calls share
        a request, it has one call's.
        """
        call = self._call(options, deadline_s, metadata)
        rows = [
            ReviewInput(review, str(number)) if isinstance(review, str) else review
            for number, review in enumerate(reviews, 1)
        ]
        masks = call.options.highlight != "off" and call.options.keywords != (self.labels.overall,)
        work = self._estimate.work((row.text for row in rows), call.options, masks=masks)
        seconds_left = call.caller.deadline - asyncio.get_running_loop().time()
        with self._admission.admit(work, seconds_left) as claim:
            analyses = [analysis async for analysis in self._stream(rows, call, lambda done: claim.computed(done.rows))]
        return analyses, call.timings

    async def analyze_stream(
        self,
        rows: Iterable[InputRow],
        *,
        options: AnalysisOptions | None = None,
        deadline_s: float | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> AsyncIterator[ReviewAnalysis]:
        """Like ``analyze`` for any number of rows, read as they are needed; ``progress`` is called after each batch.

        It is never overloaded: only one chunk of the rows is in the queue at a time.

        Raises:
            InvalidInputError: ``rows`` raised it; everything that was read before has been delivered. Or the options
                name a keyword that the label set does not have.
            ServerUnavailableError: the analyzer is closed.
        """
        async with aclosing(self._stream(rows, self._call(options, deadline_s, None), progress)) as analyses:
            async for analysis in analyses:
                yield analysis

    def _call(
        self, options: AnalysisOptions | None, deadline_s: float | None, metadata: Mapping[str, str] | None
    ) -> _Call:
        if self._closed:
            raise ServerUnavailableError("the analyzer is closed; connect another one")
        if options is None:
            options = self._options
        else:
            self.validate(options)
        deadline = math.inf if deadline_s is None else asyncio.get_running_loop().time() + deadline_s
        return _Call(options, Caller(deadline, metadata))

    async def _infer(self, batch: RowBatch) -> Arrays:
        """What the batcher's batches are computed with."""
        tokens, limits = (batch.input_ids, batch.attention_mask), (batch.deadline, batch.metadata)
        if batch.model == "analysis":
            return await self._transport.infer_analysis(*tokens, *limits)
        if batch.keyword_probs is None:
            return (await self._transport.infer_keywords(*tokens, *limits),)
        return (await self._transport.infer_sentiments(*tokens, batch.keyword_probs, *limits),)

    async def _stream(
        self, rows: Iterable[InputRow], call: _Call, progress: Callable[[Progress], None] | None
    ) -> AsyncGenerator[ReviewAnalysis, None]:
        """The analyses of one call, chunk by chunk."""
        done = Progress(0, 0)

        def report(reviews: int = 0, rows: int = 0) -> None:
            nonlocal done
            done = Progress(done.reviews + reviews, done.rows + rows)
            if progress:
                progress(done)

        call.caller.count_rows = lambda rows: report(rows=rows)
        clock = asyncio.get_running_loop().time
        pieces = read_chunks(rows)
        preparing = asyncio.create_task(self._prepare(pieces, call.options))
        self._calls += 1
        self._idle.clear()
        try:
            while True:
                waiting_since = clock()
                chunk = await preparing
                call.timings += Timings(tokenization_s=clock() - waiting_since)
                if chunk is None:
                    return
                preparing = asyncio.create_task(self._prepare(pieces, call.options))
                analyses = await self._analyze_chunk(chunk, call)
                report(reviews=len(analyses))
                for analysis in analyses:
                    yield analysis
        finally:
            preparing.cancel()
            await asyncio.gather(preparing, return_exceptions=True)
            self._calls -= 1
            if not self._calls:
                self._idle.set()

    async def _prepare(self, pieces: Iterator[list[InputRow]], options: AnalysisOptions) -> Chunk | None:
        """Read the next chunk, and tokenize it, a large one beside the event loop; None at the end."""
        inputs = next(pieces, None)
        if inputs is None:
            return None
        characters = sum(len(row.text) for row in inputs if isinstance(row, ReviewInput))
        if characters <= CHARACTERS_TOKENIZED_AT_ONCE:
            chunk = plan_chunk(inputs, self._encoder, options.max_characters)
        else:
            chunk = await asyncio.to_thread(plan_chunk, inputs, self._encoder, options.max_characters)
        self._estimate.learn(plan.encoded for plan in chunk.plans.values())
        return chunk

    async def _analyze_chunk(self, chunk: Chunk, call: _Call) -> list[ReviewAnalysis]:
        inference = ChunkInference(
            self._batcher, self._encoder, self.labels, self._model_times, call.options, call.caller
        )
        findings = await inference.findings(chunk.plans)
        call.timings += inference.timings
        failures = chunk.failures | inference.failures
        analyses = []
        for row, number in zip(chunk.inputs, chunk.text_of, strict=True):
            if isinstance(row, InvalidRow):
                analyses.append(failed_analysis(row, row.error, self.model_version))
            elif number in failures:
                analyses.append(failed_analysis(row, failures[number], self.model_version))
            else:
                analyses.append(finished_analysis(row, findings[number], self.labels, self.model_version))
        return analyses


@dataclass
class _Call:
    """What one call wants, and where its time went so far."""

    options: AnalysisOptions
    caller: Caller
    timings: Timings = field(default_factory=Timings)


def analyze_reviews(
    reviews: Sequence[ReviewInput | str], url: str, artifact: Artifact, options: AnalysisOptions | None = None
) -> list[ReviewAnalysis]:
    """``ReviewAnalyzer.analyze`` for code that is not async: connects, analyzes and closes.

    Raises:
        ServerUnavailableError, ModelMismatchError, ArtifactError: see ``TritonTransport.connect``.
    """

    async def run() -> list[ReviewAnalysis]:
        async with await ReviewAnalyzer.connect(url, artifact, options) as analyzer:
            return await analyzer.analyze(reviews)

    return asyncio.run(run())
