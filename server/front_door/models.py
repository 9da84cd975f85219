"""Which analyzer answers a call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from reviewlens.v1 import review_analysis_service_pb2 as pb

from client.analyzer import ReviewAnalyzer
from client.artifact import Artifact
from client.errors import ServerUnavailableError
from client.options import AnalysisOptions, BatchingOptions
from client.row_batcher import BatchObserver, QueueSnapshot
from client.served import served_artifact_folder
from server.front_door.requests import served_model
from server.front_door.settings import Settings


def analysis_defaults(settings: Settings) -> AnalysisOptions:
    """The options of calls that bring none."""
    return AnalysisOptions(
        highlight=settings.analysis.highlight,
        highlights_per_keyword=settings.analysis.highlights_per_keyword,
        max_characters=settings.limits.max_characters,
    )


def batching_options(settings: Settings) -> BatchingOptions:
    """How analyzers use Triton."""
    return BatchingOptions(**settings.batching.model_dump(), max_queued_tokens=settings.limits.max_queued_tokens)


def load_artifact(repository: Path) -> Artifact:
    """The artifact of the version that a Triton on this repository serves.

    Raises:
        ArtifactError: the repository has no such version, or its files do not agree with one another.
    """
    return Artifact.load(served_artifact_folder(repository))


class _Lease:
    """An analyzer and the calls that use it. A retired one is closed when the last of them ends."""

    def __init__(self, analyzer: ReviewAnalyzer, url: str) -> None:
        self.analyzer = analyzer
        self.url = url
        self._calls = 0
        self._retired = False

    @asynccontextmanager
    async def use(self) -> AsyncIterator[ReviewAnalyzer]:
        self._calls += 1
        try:
            yield self.analyzer
        finally:
            self._calls -= 1
            await self._close_when_unused()

    async def retire(self) -> None:
        self._retired = True
        await self._close_when_unused()

    async def _close_when_unused(self) -> None:
        if self._retired and not self._calls:
            await asyncio.shield(self.analyzer.close())


class Models:
    """The connected analyzer. A call keeps the one that it started with, so a reply never mixes versions."""

    def __init__(self, settings: Settings, observer: BatchObserver) -> None:
        """``observer`` is told of every batch."""
        self._settings = settings
        self._observer = observer
        self._lease: _Lease | None = None

    async def connect(self, url: str) -> None:
        """Use the Triton at ``url``; does nothing when it is in use already.

        Raises:
            ServerUnavailableError, ModelMismatchError, ArtifactError: see ``ReviewAnalyzer.connect``; what was
                connected before stays.
        """
        former = self._lease
        if former is not None and former.url == url:
            return
        artifact = await asyncio.to_thread(load_artifact, self._settings.model_repository)
        analyzer = await ReviewAnalyzer.connect(
            url,
            artifact,
            analysis_defaults(self._settings),
            batching_options(self._settings),
            observer=self._observer,
        )
        self._lease = _Lease(analyzer, url)
        if former is not None:
            await former.retire()

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[ReviewAnalyzer]:
        """The analyzer for one whole call.

        Raises:
            ServerUnavailableError: no model has been reached yet.
        """
        async with self._connected().use() as analyzer:
            yield analyzer

    async def probe(self, deadline_s: float) -> None:
        """A real inference with both models; raises the ReviewLensError that it fails with."""
        async with self.acquire() as analyzer:
            await analyzer.probe(deadline_s)

    def check_ready(self) -> None:
        """Raise ServerUnavailableError unless there is an analyzer for a call."""
        self._connected()

    def served(self) -> list[pb.ServedModel]:
        """The versions that answer calls, with what GetInfo says about them.

        Raises:
            ServerUnavailableError: no model has been reached yet.
        """
        analyzer = self._connected().analyzer
        return [served_model(analyzer.artifact, analyzer.model_version, 1.0)]

    def snapshot(self) -> QueueSnapshot:
        """What waits for Triton now."""
        return QueueSnapshot(0, 0, 0, 0.0) if self._lease is None else self._lease.analyzer.snapshot()

    async def close(self) -> None:
        """Close the connection as soon as no call uses it."""
        lease, self._lease = self._lease, None
        if lease is not None:
            await lease.retire()

    def _connected(self) -> _Lease:
        if self._lease is None:
            raise ServerUnavailableError("no model is ready yet; try again")
        return self._lease
