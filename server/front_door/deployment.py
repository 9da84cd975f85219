"""One version of the chain as it is served: its Triton, the connection to it, and the calls that use it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from client.analyzer import ReviewAnalyzer
from client.errors import ModelMismatchError, ReviewLensError, ServerUnavailableError
from client.options import AnalysisOptions, BatchingOptions
from client.row_batcher import BatchObserver, QueueSnapshot
from client.transport import TritonTransport
from server.front_door.rollout.plan import Source
from server.front_door.settings import Settings
from server.front_door.triton import OwnTriton, RemoteTriton, Triton


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


class _Connection:
    """An analyzer and the calls that use it. A retired one is closed when the last of them ends."""

    def __init__(self, analyzer: ReviewAnalyzer, url: str) -> None:
        self.analyzer = analyzer
        self.url = url
        self._calls = 0
        self._unused = asyncio.Event()
        self._unused.set()

    @asynccontextmanager
    async def use(self) -> AsyncIterator[ReviewAnalyzer]:
        self._calls += 1
        self._unused.clear()
        try:
            yield self.analyzer
        finally:
            self._calls -= 1
            if not self._calls:
                self._unused.set()

    async def retire(self) -> None:
        """Close the analyzer when no call uses it any more."""
        await self._unused.wait()
        await self.analyzer.close()


class Deployment:
    """A version with its Triton, which is started and started again if it is ours.

    ``problem`` is why calls are kept away from it: what a probe or a call failed with, and None after a probe that
    worked. ``retired`` says that no new call may begin with it.
    """

    def __init__(self, source: Source, settings: Settings, observer: BatchObserver) -> None:
        """Nothing runs yet. ``source`` is pinned; ``observer`` is told of every batch.

        Raises:
            ArtifactError: the repository has no such version, or its files do not agree with one another.
        """
        self.source = source
        self.artifact = source.artifact()
        version = int(self.artifact.folder.name)
        self.model_version = self.artifact.labels.model_version or str(version)
        self.problem: ReviewLensError | None = ServerUnavailableError("not connected yet")
        self.retired = False
        self._settings = settings
        self._observer = observer
        self.triton: Triton = (
            RemoteTriton(source.triton_url)
            if source.triton_url
            else OwnTriton(
                source.model_repository, version, settings.tracing.triton_otlp_url, settings.embedded_threads
            )
        )
        self._connecting = asyncio.Lock()
        self._connection: _Connection | None = None
        self._retiring: dict[_Connection, asyncio.Task[None]] = {}
        self._closing: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Connect with the Triton, which is started first if it is ours; does nothing when that is done.

        Raises:
            EmbeddedTritonError: the Triton does not start.
            ServerUnavailableError, ModelMismatchError: see ``ReviewAnalyzer.connect``.
        """
        async with self._connecting:
            self._check_not_retired()
            url = await self.triton.url()
            former = self._connection
            if former is not None and former.url == url:
                return
            analyzer = await ReviewAnalyzer.connect(
                url,
                self.artifact,
                analysis_defaults(self._settings),
                batching_options(self._settings),
                observer=self._observer,
            )
            if self.retired:
                await analyzer.close()
                self._check_not_retired()
            self._connection = _Connection(analyzer, url)
            if former is not None:
                self._retire(former)

    @property
    def url(self) -> str:
        """HOST:PORT of the Triton that it is connected with; "" without one."""
        return "" if self._connection is None else self._connection.url

    @asynccontextmanager
    async def use(self) -> AsyncIterator[ReviewAnalyzer]:
        """The analyzer for one whole call.

        Raises:
            ServerUnavailableError: it has not been reached yet.
            ModelMismatchError: the last probe found another model at its address, whose answers would be wrong ones.
        """
        if isinstance(self.problem, ModelMismatchError):
            raise ModelMismatchError(str(self.problem))
        async with self._connected().use() as analyzer:
            yield analyzer

    def _connected(self) -> _Connection:
        if self._connection is None:
            raise ServerUnavailableError("no model is ready yet; try again")
        return self._connection

    async def probe(self, deadline_s: float) -> None:
        """A real inference with both models; raises the ReviewLensError that it fails with, which is ``problem``.

        A Triton that somebody else runs may meanwhile serve another model, whose answers have the same shape: it is
        compared with the artifact again.
        """
        try:
            async with self._connected().use() as analyzer:
                await analyzer.probe(deadline_s)
            if self.source.triton_url:
                transport = await TritonTransport.connect(self.source.triton_url, self.artifact)
                await transport.close()
        except ReviewLensError as error:
            self.problem = error
            raise
        self.problem = None

    def failed(self, error: ReviewLensError, url: str) -> None:
        """A call to the Triton at ``url`` failed: if none answered, no more are sent there until a probe has worked."""
        if error.code == ServerUnavailableError.code and url == self.url:  # and not of one that has ended before
            self.problem = error

    def snapshot(self) -> QueueSnapshot:
        """What waits for its Triton now."""
        return QueueSnapshot(0, 0, 0, 0.0) if self._connection is None else self._connection.analyzer.snapshot()

    async def retire(self) -> None:
        """Begin no more calls, and close everything when those under way have ended; ``close`` does not wait."""
        self.retired = True
        if self._connection is not None:
            self._retire(self._connection)
        await asyncio.gather(*self._retiring.values(), return_exceptions=True)
        await self.close()

    async def close(self) -> None:
        """End everything at once: the connections, and the Triton if it is ours."""
        self.retired = True
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        retiring = dict(self._retiring)
        for task in retiring.values():
            task.cancel()
        await asyncio.gather(*retiring.values(), return_exceptions=True)
        connections = set(retiring) if self._connection is None else {*retiring, self._connection}
        await asyncio.gather(*(connection.analyzer.close() for connection in connections))
        await self.triton.stop()

    def _retire(self, connection: _Connection) -> None:
        """Have a connection closed when its last call ends."""
        if connection not in self._retiring:
            task = self._retiring[connection] = asyncio.create_task(connection.retire())
            task.add_done_callback(lambda _: self._retiring.pop(connection))

    def _check_not_retired(self) -> None:
        if self.retired:
            raise ServerUnavailableError(f"{self.model_version} is not served any more")
