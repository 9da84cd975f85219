"""How the time of a call to both models divides between them."""

from __future__ import annotations

import asyncio

from client.errors import ReviewLensError
from client.transport import KEYWORD_CLASSIFIER, SENTIMENT_CLASSIFIER, TritonTransport

REFRESH_S = 5.0
TIMEOUT_S = 0.25


class ModelTimes:
    """Reads Triton's statistics, every few seconds at most."""

    def __init__(self, transport: TritonTransport) -> None:
        self._transport = transport
        self._share = 0.5
        self._refresh_at = 0.0

    async def keyword_share(self, deadline: float) -> float:
        """The keyword classifier's share, 0 to 1, of the time that both models take for a row; half if unknown.

        ``deadline`` is a time of the event loop's clock, after which the last share will do.
        """
        now = asyncio.get_running_loop().time()
        if now >= self._refresh_at:
            self._refresh_at = now + REFRESH_S
            try:
                statistics = [
                    await self._transport.compute_seconds(model, min(deadline, now + TIMEOUT_S))
                    for model in (KEYWORD_CLASSIFIER, SENTIMENT_CLASSIFIER)
                ]
            except ReviewLensError:  # a Triton may keep its statistics to itself
                return self._share
            keyword, sentiment = (seconds / max(rows, 1) for seconds, rows in statistics)
            if keyword + sentiment > 0:
                self._share = keyword / (keyword + sentiment)
        return self._share
