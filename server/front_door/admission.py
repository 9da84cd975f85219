"""Admission: how many calls one client may have under way."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from client.errors import OverloadedError

# There is room again as soon as one of the client's own calls ends, which the client sees itself.
RETRY_AFTER_S = 0.5


class ClientCalls:
    """Counts the calls of each client; a client without calls takes no memory."""

    def __init__(self, most: int) -> None:
        """``most`` calls of one client are admitted at a time."""
        self._most = most
        self._calls: Counter[str] = Counter()
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def admit(self, client: str) -> Iterator[None]:
        """Count a call of ``client`` for the time of the block.

        Raises:
            OverloadedError: the client has as many calls under way as it may have.
        """
        if self._calls[client] >= self._most:
            raise OverloadedError(
                f"this client has {self._most:,} calls under way, the most that the server allows; wait for one to "
                "end, or put more reviews into a call",
                RETRY_AFTER_S,
            )
        self._calls[client] += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._calls[client] -= 1
            if not self._calls[client]:
                del self._calls[client]
            if not self._calls:
                self._idle.set()

    async def idle(self) -> None:
        """Wait until no call is under way."""
        await self._idle.wait()
