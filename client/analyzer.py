"""The analyzer that services import: reviews in, keywords with sentiments and highlights out.

    artifact = Artifact.load(served_artifact_folder(Path("model_repository")))
    async with await ReviewAnalyzer.connect("localhost:8001", artifact) as analyzer:
        analyses = await analyzer.analyze(["배송은 빠른데 핏이 아쉬워요"])

Reviews go through in chunks: the next one is read and tokenized while this one is computed, so memory stays bounded
however long the input is.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from reviewlens.v1.review_analysis_pb2 import ReviewAnalysis

from client.artifact import Artifact
from client.chunks import Chunk, InputRow, plan_chunk, read_chunks
from client.encoding import Encoder
from client.inference import ChunkInference
from client.options import AnalysisOptions
from client.results import InvalidRow, ReviewInput, failed_analysis, finished_analysis
from client.transport import TritonTransport


@dataclass(frozen=True)
class Progress:
    """What a stream has done so far: reviews finished, and rows computed for these and for the ones under way."""

    reviews: int
    rows: int


class ReviewAnalyzer:
    """Analyzes reviews with one Triton. Coroutines may share an analyzer; they then share its requests in flight."""

    def __init__(self, transport: TritonTransport, artifact: Artifact, options: AnalysisOptions) -> None:
        """Use a connected transport, which the analyzer closes with itself; ``connect`` is the short way."""
        self.model_version = artifact.labels.model_version or transport.version
        self._transport = transport
        self._labels = artifact.labels
        self._options = options
        self._encoder = Encoder(artifact)
        self._in_flight = asyncio.Semaphore(options.concurrency)

    @classmethod
    async def connect(cls, url: str, artifact: Artifact, options: AnalysisOptions | None = None) -> Self:
        """Connect to the Triton at ``url`` ("host:port" of its gRPC) and check that it runs the artifact's model.

        Raises:
            ServerUnavailableError, ModelMismatchError, ArtifactError: see ``TritonTransport.connect``.
        """
        options = options or AnalysisOptions()
        transport = await TritonTransport.connect(url, artifact, request_timeout_s=options.deadline_s)
        try:
            return cls(transport, artifact, options)
        except BaseException:
            await transport.close()
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._transport.close()

    async def analyze(
        self, reviews: Sequence[ReviewInput | str], *, deadline_s: float | None = None
    ) -> list[ReviewAnalysis]:
        """Analyze reviews; the result has one message for each, in order. Plain texts get their number, from 1, as id.

        A review that fails (invalid text, Triton gone, deadline) has its ``error`` set; the others are whole.
        ``deadline_s`` bounds this call, besides the options' bound of each request.
        """
        rows = [
            ReviewInput(review, str(number)) if isinstance(review, str) else review
            for number, review in enumerate(reviews, 1)
        ]
        return [analysis async for analysis in self.analyze_stream(rows, deadline_s=deadline_s)]

    async def analyze_stream(
        self,
        rows: Iterable[InputRow],
        *,
        deadline_s: float | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> AsyncIterator[ReviewAnalysis]:
        """Like ``analyze`` for any number of rows, read as they are needed; ``progress`` is called after each batch.

        Raises:
            InvalidInputError: ``rows`` raised it; everything that was read before has been delivered.
        """
        deadline = math.inf if deadline_s is None else asyncio.get_running_loop().time() + deadline_s
        done = Progress(0, 0)

        def report(reviews: int = 0, rows: int = 0) -> None:
            nonlocal done
            done = Progress(done.reviews + reviews, done.rows + rows)
            if progress:
                progress(done)

        pieces = read_chunks(rows)
        preparing = asyncio.create_task(self._prepare(pieces))
        try:
            while chunk := await preparing:
                preparing = asyncio.create_task(self._prepare(pieces))
                analyses = await self._analyze_chunk(chunk, deadline, lambda rows: report(rows=rows))
                report(reviews=len(analyses))
                for analysis in analyses:
                    yield analysis
        finally:
            preparing.cancel()
            await asyncio.gather(preparing, return_exceptions=True)

    async def _prepare(self, pieces: Iterator[list[InputRow]]) -> Chunk | None:
        """Read the next chunk, and tokenize it beside the event loop; None at the end."""
        inputs = next(pieces, None)
        if inputs is None:
            return None
        return await asyncio.to_thread(plan_chunk, inputs, self._encoder, self._options.max_characters)

    async def _analyze_chunk(
        self, chunk: Chunk, deadline: float, count_rows: Callable[[int], None]
    ) -> list[ReviewAnalysis]:
        inference = ChunkInference(self._transport, self._encoder, self._options, self._in_flight, deadline, count_rows)
        findings = await inference.findings(chunk.plans)
        failures = chunk.failures | inference.failures
        analyses = []
        for row, number in zip(chunk.inputs, chunk.text_of, strict=True):
            if isinstance(row, InvalidRow):
                analyses.append(failed_analysis(row, row.error, self.model_version))
            elif number in failures:
                analyses.append(failed_analysis(row, failures[number], self.model_version))
            else:
                analyses.append(finished_analysis(row, findings[number], self._labels, self.model_version))
        return analyses


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
