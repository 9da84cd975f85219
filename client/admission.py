"""Admission by tokens: calls that would wait too long are refused before any work is done for them."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from client.encoding import EncodedReview
from client.errors import InvalidInputError, OverloadedError
from client.masking import MAX_WORDS_WITHOUT_SEGMENTS
from client.options import AnalysisOptions
from client.windows import SPECIAL_TOKENS_PER_WINDOW

# What an unmeasured Triton is taken to need, and what a caller is told at most.
UNKNOWN_RETRY_S, SHORTEST_RETRY_S, LONGEST_RETRY_S = 1.0, 0.1, 60.0


@dataclass(frozen=True)
class Work:
    """What a call should take: ``rows`` for Triton and their ``tokens``, without padding."""

    reviews: int
    rows: int
    tokens: int


class TokenEstimate:
    """The work that texts will be, with their masks, told from their characters; learns from those that came."""

    def __init__(self, max_length: int) -> None:
        """``max_length`` is the tokens of one window."""
        self._max_length = max_length
        self._tokens, self._characters = 60, 100  # of Korean text, until some has been seen

    def learn(self, reviews: Iterable[EncodedReview]) -> None:
        """Take tokenized reviews into account."""
        for review in reviews:
            self._tokens += len(review.input_ids)
            self._characters += len(review.text)

    def work(self, texts: Iterable[str], options: AnalysisOptions, *, masks: bool) -> Work:
        """The unmasked rows and, with ``masks``, all that may have to be masked."""
        reviews, rows, tokens = 0, 0.0, 0.0
        for text in texts:
            reviews += 1
            if len(text) > options.max_characters:
                continue  # refused, not computed
            length = len(text) * self._tokens / self._characters + SPECIAL_TOKENS_PER_WINDOW
            masked = _mask_rows(len(text.split()), options) if masks else 0
            rows += 1 + masked
            tokens += length + masked * min(length, self._max_length)
        return Work(reviews, math.ceil(rows), math.ceil(tokens))


def _mask_rows(words: int, options: AnalysisOptions) -> float:
    if options.highlight == "fast" and words > MAX_WORDS_WITHOUT_SEGMENTS:
        return 3 * math.sqrt(words)  # the segments, and the words of two of them
    return words


class Claim:
    """What one call still needs: ``tokens``, fewer with every row that is computed for it."""

    def __init__(self, work: Work) -> None:
        self.tokens: float = work.tokens
        self._work = work

    def computed(self, rows: int) -> None:
        """So many of the call's rows are done altogether."""
        self.tokens = self._work.tokens * max(0.0, 1 - rows / max(self._work.rows, 1))


class TokenAdmission:
    """What the calls under way still need, against a limit and against the time that a new call has."""

    def __init__(
        self, limit: float, tokens_per_second: Callable[[], float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``tokens_per_second`` tells how fast room is made, 0 if that is not known."""
        self._limit = limit
        self._tokens_per_second = tokens_per_second
        self._clock = clock
        self._claims: set[Claim] = set()
        self._promised_until = 0.0

    @property
    def held(self) -> int:
        """Tokens that all calls under way still need."""
        return math.ceil(sum(claim.tokens for claim in self._claims))

    @contextlib.contextmanager
    def admit(self, work: Work, seconds_left: float = math.inf) -> Iterator[Claim]:
        """Hold the tokens of a call while it runs; ``seconds_left`` is until its deadline.

        A single review above the whole limit is admitted when nothing else runs.

        Raises:
            InvalidInputError: several reviews that are above the whole limit together.
            OverloadedError: the call does not fit, or not in time; it says when it should.
        """
        if work.tokens > self._limit and work.reviews > 1:
            raise InvalidInputError(
                f"reviews: {work.reviews} of them need about {work.tokens:,} tokens with their masks, "
                f"{self._limit:,.0f} at most in one call; send fewer at once, or ask for fast highlights or none"
            )
        held = self.held
        if held and held + work.tokens > self._limit:
            raise OverloadedError(
                f"{held:,} tokens are under way and this call needs about {work.tokens:,}, {self._limit:,.0f} at most; "
                "come back later or send less",
                retry_after_s=self._retry_after_s(held, work.tokens),
            )
        if (queue_s := self._queue_s(work.tokens)) > seconds_left:
            raise OverloadedError(
                f"this call would wait about {queue_s:.1f} s for others and its deadline is in {seconds_left:.1f} s; "
                "come back later, send less or allow more time",
                retry_after_s=min(max(queue_s - seconds_left, SHORTEST_RETRY_S), LONGEST_RETRY_S),
            )
        claim = Claim(work)
        self._claims.add(claim)
        try:
            yield claim
        finally:
            self._claims.discard(claim)

    def _queue_s(self, tokens: int) -> float:
        """Seconds that others take before a call's last token; 0 if the speed is not known.

        In a fair queue a call waits for no more of another one than it is large itself.
        """
        rate = self._tokens_per_second()
        return sum(min(claim.tokens, tokens) for claim in self._claims) / rate if rate else 0.0

    def _retry_after_s(self, held: int, tokens: int) -> float:
        """Seconds until there should be room for a call's tokens, behind those who were sent away before.

        Told each for itself, all of them would come back together. Nobody is told more than a full queue takes: who
        was sent away may have gone elsewhere.
        """
        rate = self._tokens_per_second()
        if not rate:
            return UNKNOWN_RETRY_S
        now = self._clock()
        room = now + min(held, held + tokens - self._limit) / rate
        turn = min(max(room, self._promised_until), now + max(self._limit, held) / rate)
        self._promised_until = turn + tokens / rate
        return min(max(turn - now, SHORTEST_RETRY_S), LONGEST_RETRY_S)
