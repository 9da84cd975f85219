"""A TCP proxy in front of Triton: while it is shut, nothing of what Triton answers comes through."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self


class Gate:
    """Listens at ``url`` between ``async with``."""

    def __init__(self, target: str) -> None:
        """``target`` is HOST:PORT."""
        self.url = ""
        self._target = target
        self._is_open = asyncio.Event()
        self._is_open.set()
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Let everything through, also what was held back."""
        self._is_open.set()

    def shut(self) -> None:
        """Hold back what Triton answers from now on."""
        self._is_open.clear()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.url = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._target.split(":")
        triton_reader, triton_writer = await asyncio.open_connection(host, int(port))
        always = asyncio.Event()
        always.set()
        for source, target, gate in ((reader, triton_writer, always), (triton_reader, writer, self._is_open)):
            task = asyncio.create_task(_forward(source, target, gate))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def _forward(source: asyncio.StreamReader, target: asyncio.StreamWriter, gate: asyncio.Event) -> None:
    with contextlib.suppress(ConnectionError), contextlib.closing(target):
        while data := await source.read(1 << 16):
            await gate.wait()
            target.write(data)
            await target.drain()
