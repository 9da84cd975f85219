"""How many tokens a second Triton computes."""

from __future__ import annotations

HALF_LIFE_S = 10.0


class TokenRate:
    """Padded tokens a second over the time in which batches are in flight; what is older counts less."""

    def __init__(self) -> None:
        self._tokens = self._seconds = self._since = 0.0

    def started(self, now: float, *, idle: bool) -> None:
        """A batch is sent; ``idle`` if none was in flight before."""
        if idle:
            self._since = now

    def finished(self, now: float, tokens: int) -> None:
        """A batch has come back with so many tokens, none if it failed."""
        passed, self._since = now - self._since, now
        kept: float = 0.5 ** (passed / HALF_LIFE_S)
        self._tokens = self._tokens * kept + tokens
        self._seconds = self._seconds * kept + passed

    @property
    def tokens_per_second(self) -> float:
        """0 until a batch has been computed."""
        return self._tokens / self._seconds if self._seconds else 0.0
