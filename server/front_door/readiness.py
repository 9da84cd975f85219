"""Readiness: keeps Triton running and connected, and finds out again and again whether both models answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from client.errors import EmbeddedTritonError, ReviewLensError
from server.front_door.models import Models
from server.front_door.settings import Health
from server.front_door.status import unexpected

FIRST_PAUSE_S = 0.2
# Nothing heard of probes for so many times as long as one takes at most: what it said does not count any more.
STALE_AFTER = 3

_log = logging.getLogger(__name__)


class Readiness:
    """``problem`` is what the last probe failed with; None while both models answer."""

    def __init__(self, models: Models, health: Health, announce: Callable[[bool], Awaitable[None]]) -> None:
        """``announce`` is told of every change."""
        self.problem: ReviewLensError | None = ReviewLensError("not probed yet")
        self._models = models
        self._health = health
        self._announce = announce
        self._changed = asyncio.Condition()
        self._reported_at = time.monotonic()

    async def watch(self) -> None:
        """Probe until cancelled. A failure is followed up at once, then at growing intervals up to the usual one."""
        pause_s = min(FIRST_PAUSE_S, self._health.probe_every_s)
        while True:
            try:
                await self._models.connect()
                await self._models.probe(self._health.probe_timeout_s)
            except Exception as error:  # noqa: BLE001  (whatever it is, the next probe must come)
                await self._report(error if isinstance(error, ReviewLensError) else unexpected(error))
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, self._health.probe_every_s)
            else:
                await self._report(None)
                pause_s = min(FIRST_PAUSE_S, self._health.probe_every_s)
                if await self._models.ended(within_s=self._health.probe_every_s):
                    await self._report(EmbeddedTritonError("the embedded Triton ended; it is being started again"))

    def is_ready(self) -> bool:
        """Whether the last probe worked, and was not long ago; for other threads, as the event loop may be stuck."""
        age_s = time.monotonic() - self._reported_at
        return self.problem is None and age_s < STALE_AFTER * (
            self._health.probe_every_s + self._health.probe_timeout_s
        )

    async def ready(self) -> None:
        """Wait until both models answer."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.problem is None)

    async def _report(self, problem: ReviewLensError | None) -> None:
        if str(problem) != str(self.problem):
            if problem is None:
                _log.info("ready: both models answer")
            else:
                _log.warning("not ready: %s: %s", problem.code, problem)
        self._reported_at = time.monotonic()
        was_ready, self.problem = self.problem is None, problem
        if was_ready != (problem is None):
            await self._announce(problem is None)
            async with self._changed:
                self._changed.notify_all()
