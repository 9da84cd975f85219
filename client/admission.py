"""Admission by tokens: calls that would wait too long are refused before any work is done for them."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator

from client.encoding import EncodedReview
from client.errors import OverloadedError
from client.masking import MAX_WORDS_WITHOUT_SEGMENTS
from client.options import AnalysisOptions
from client.windows import SPECIAL_TOKENS_PER_WINDOW

# What an unmeasured Triton is taken to need, and what a caller is told at most.
UNKNOWN_RETRY_S, SHORTEST_RETRY_S, LONGEST_RETRY_S = 1.0, 0.1, 60.0


class TokenEstimate:
    """Tokens that texts will take, with their masks, told from their characters; learns from those that came."""

    def __init__(self, max_length: int) -> None:
        """``max_length`` is the tokens of one window."""
        self._max_length = max_length
        self._tokens, self._characters = 60, 100  # of Korean text, until some has been seen

    def learn(self, reviews: Iterable[EncodedReview]) -> None:
        """Take tokenized reviews into account."""
        for review in reviews:
            self._tokens += len(review.input_ids)
            self._characters += len(review.text)

    def tokens(self, texts: Iterable[str], options: AnalysisOptions, *, masks: bool) -> int:
        """Tokens of the unmasked rows and, with ``masks``, of all that may have to be masked."""
        total = 0.0
        for text in texts:
            if len(text) > options.max_characters:
                continue  # refused, not computed
            length = len(text) * self._tokens / self._characters + SPECIAL_TOKENS_PER_WINDOW
            total += length
            if masks:
                total += _mask_rows(text.count(" ") + 1, options) * min(length, self._max_length)
        return math.ceil(total)


def _mask_rows(words: int, options: AnalysisOptions) -> float:
    if options.highlight == "fast" and words > MAX_WORDS_WITHOUT_SEGMENTS:
        return 3 * math.sqrt(words)  # the segments, and the words of two of them
    return words


class TokenAdmission:
    """The tokens of all calls under way, in ``held``, against a limit."""

    def __init__(
        self, limit: float, tokens_per_second: Callable[[], float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``tokens_per_second`` tells how fast room is made, 0 if that is not known."""
        self.held = 0
        self._limit = limit
        self._tokens_per_second = tokens_per_second
        self._clock = clock
        self._promised_until = 0.0

    @contextlib.contextmanager
    def admit(self, tokens: int) -> Iterator[None]:
        """Hold the tokens of a call while it runs. One above the whole limit is admitted when nothing else runs.

        Raises:
            OverloadedError: they do not fit; it says when they should.
        """
        if self.held and self.held + tokens > self._limit:
            raise OverloadedError(
                f"{self.held:,} tokens are under way and this call needs about {tokens:,}, {self._limit:,.0f} at most; "
                "come back later or send less",
                retry_after_s=min(max(self._wait_s(tokens), SHORTEST_RETRY_S), LONGEST_RETRY_S),
            )
        self.held += tokens
        try:
            yield
        finally:
            self.held -= tokens

    def _wait_s(self, tokens: int) -> float:
        """Seconds until there should be room for a call's tokens, behind those who were sent away before.

        Told each for itself, all of them would come back together. Nobody is told more than a full queue takes: who
        was sent away may have gone elsewhere.
        """
        rate = self._tokens_per_second()
        if not rate:
            return UNKNOWN_RETRY_S
        now = self._clock()
        room = now + min(self.held, self.held + tokens - self._limit) / rate
        turn = min(max(room, self._promised_until), now + max(self._limit, self.held) / rate)
        self._promised_until = turn + tokens / rate
        return turn - now
