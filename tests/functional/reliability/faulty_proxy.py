"""A TCP proxy that does to connections what networks do to them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

CHUNK = 16 * 1024


@dataclass(frozen=True)
class Faults:
    """What happens to each chunk on its way, in either direction.

    It is ``latency_s`` late, and passes at ``bytes_per_s`` (0: as fast as it comes). With ``stalled`` nothing passes
    until that ends; then everything does.
    """

    latency_s: float = 0.0
    bytes_per_s: float = 0.0
    stalled: bool = False


class FaultyProxy:
    """Passes connections on to ``target`` (HOST:PORT) while the `with` block lasts, on a thread of its own.

    ``faults`` may be set at any time, and holds for connections that are open, too.
    """

    def __init__(self, target: str) -> None:
        self.faults = Faults()
        self.url = ""
        self.connections = 0
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="faulty-proxy", daemon=True)
        self._links: set[_Link] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def reset(self) -> None:
        """Break every open connection with a TCP reset on both sides."""
        self._loop.call_soon_threadsafe(self._on_all, _Link.reset)

    def swallow(self) -> None:
        """Make every open connection half-open for good: what is sent vanishes, and neither side is told."""
        self._loop.call_soon_threadsafe(self._on_all, _Link.swallow)

    def _on_all(self, what: Callable[[_Link], None]) -> None:
        for link in tuple(self._links):
            what(link)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            upstream = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(self, (reader, writer), upstream)
        self._links.add(link)
        await link.run()
        self._links.discard(link)

    async def _close(self) -> None:
        self._server.close()
        self._on_all(_Link.reset)
        await asyncio.gather(*(link.ended.wait() for link in self._links))


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    """One connection and its other half."""

    def __init__(self, proxy: FaultyProxy, client: Stream, upstream: Stream) -> None:
        self._proxy = proxy
        self._client = client
        self._upstream = upstream
        self._swallowing = False
        self._broken = asyncio.Event()
        self.ended = asyncio.Event()

    async def run(self) -> None:
        """Pass on until either side ends."""
        passing = [
            asyncio.create_task(self._pass_on(self._client[0], self._upstream[1])),
            asyncio.create_task(self._pass_on(self._upstream[0], self._client[1])),
        ]
        broken = asyncio.create_task(self._broken.wait())
        await asyncio.wait({*passing, broken}, return_when=asyncio.FIRST_COMPLETED)
        if self._swallowing:
            await broken
        for task in (*passing, broken):
            task.cancel()
        await asyncio.gather(*passing, broken, return_exceptions=True)
        for _, writer in (self._client, self._upstream):
            writer.transport.abort()
        self.ended.set()

    def reset(self) -> None:
        self._broken.set()

    def swallow(self) -> None:
        self._swallowing = True

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(CHUNK):
                faults = self._proxy.faults
                delay_s = faults.latency_s + (len(data) / faults.bytes_per_s if faults.bytes_per_s else 0.0)
                if delay_s:
                    await asyncio.sleep(delay_s)
                while self._proxy.faults.stalled:  # noqa: ASYNC110  (set by another thread)
                    await asyncio.sleep(0.01)
                if not self._swallowing:
                    writer.write(data)
                    await writer.drain()
