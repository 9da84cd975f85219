"""The Triton behind the front door: one that somebody else runs, or the embedded one, kept running."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from pathlib import Path
from typing import Protocol

from client.errors import EmbeddedTritonError
from server.embedded import EmbeddedTriton
from server.front_door.pinned_repository import PinnedRepository

_log = logging.getLogger(__name__)
_triton_log = logging.getLogger("triton")


class Triton(Protocol):
    """Where a running Triton is."""

    async def url(self) -> str:
        """HOST:PORT of the gRPC of a running server.

        Raises:
            EmbeddedTritonError: it does not start.
        """

    async def ended(self, within_s: float) -> bool:
        """Wait until the server has ended, ``within_s`` seconds at most; whether it is known to have ended."""

    async def stop(self) -> None:
        """End the server if it is ours."""


class RemoteTriton:
    """A Triton that somebody else runs. Whether it does is found out by calling it."""

    def __init__(self, url: str) -> None:
        """``url`` is HOST:PORT."""
        self._url = url

    async def url(self) -> str:
        """The address; nothing is started."""
        return self._url

    async def ended(self, within_s: float) -> bool:
        """Sleep: nobody tells when it ends."""
        await asyncio.sleep(within_s)
        return False

    async def stop(self) -> None:
        """Leave it alone."""


class OwnTriton:
    """The embedded Triton; ``url`` starts it, and starts it again once it has ended.

    It then serves the same version, whatever has been promoted in the repository meanwhile.
    """

    def __init__(self, repository: Path, version: int, trace_url: str, threads: int = 0) -> None:
        """Serve ``version`` of the models in ``repository``; spans go to ``trace_url`` unless it is empty.

        ``threads`` for each model; 0 leaves them to the models' configuration.
        """
        self._repository = repository
        self._version = version
        self._pinned: PinnedRepository | None = None
        self._trace_url = trace_url or None
        self._threads = threads or None
        self._triton: EmbeddedTriton | None = None
        self._end = asyncio.Event()
        self._stopped = False

    @property
    def pid(self) -> int:
        """Process id of the server's supervisor; raises EmbeddedTritonError when it does not run."""
        if self._triton is None:
            raise EmbeddedTritonError("the embedded Triton has not been started")
        return self._triton.pid

    async def url(self) -> str:
        """Start the server unless it runs."""
        if self._triton is None or self._end.is_set():
            if self._pinned is None:
                self._pinned = PinnedRepository(self._repository, self._version)
            await asyncio.to_thread(self._pinned.write)
            self._end = asyncio.Event()
            self._triton = EmbeddedTriton(
                self._pinned.path, threads=self._threads, trace_url=self._trace_url, on_log=_log_line
            )
            try:
                await asyncio.to_thread(self._triton.start)
            except EmbeddedTritonError as error:
                self._end.set()
                raise self._in_own_words(error) from None
            except BaseException:
                self._end.set()
                raise
            arguments = [self._triton, self._triton.pid, self._end, asyncio.get_running_loop()]
            watch = threading.Thread(target=self._watch, args=arguments, name="triton-watch", daemon=True)
            watch.start()
        return self._triton.grpc_url

    async def ended(self, within_s: float) -> bool:
        """Wait for the end."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._end.wait(), within_s)
        return self._end.is_set()

    async def stop(self) -> None:
        """End the server, also one that is starting."""
        self._stopped = True
        if self._triton is not None:
            await asyncio.to_thread(self._triton.stop)
        if self._pinned is not None:
            await asyncio.to_thread(self._pinned.remove)

    def _watch(self, triton: EmbeddedTriton, pid: int, end: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
        # Left to be reaped: what comes below waits for all processes of the server, and one of them may hang.
        with contextlib.suppress(ChildProcessError):  # it is reaped already
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(end.set)
        if self._stopped:
            return
        try:
            triton.wait()
        except EmbeddedTritonError as error:
            _log.error("%s", self._in_own_words(error))

    def _in_own_words(self, error: EmbeddedTritonError) -> EmbeddedTritonError:
        """The error about the repository, not about our links to it."""
        links = str(self._pinned and self._pinned.path)
        return EmbeddedTritonError(str(error).replace(links, str(self._repository)))


def _log_line(line: str) -> None:
    """Log a line of Triton's log: informative ones, which begin with I, and tables for debugging only."""
    if line.startswith(("W", "E")):
        _triton_log.info(line)
    else:
        _triton_log.debug(line)
