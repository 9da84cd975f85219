"""Where the time of a call went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Timings:
    """Seconds by stage. The stages follow one another, so they add up to about the time of the call.

    ``tokenization_s`` is tokenizing and planning rows. ``queue_s`` is waiting for a place in a batch, over all stages:
    the time in which rows of the call waited and none was computed. The others are the time in which rows were
    computed: by the keyword classifier without masks, by the sentiment classifier, and by the keyword classifier with
    masks.
    """

    tokenization_s: float = 0.0
    queue_s: float = 0.0
    keyword_s: float = 0.0
    sentiment_s: float = 0.0
    highlight_s: float = 0.0

    def __add__(self, other: Self) -> Self:
        return type(self)(
            self.tokenization_s + other.tokenization_s,
            self.queue_s + other.queue_s,
            self.keyword_s + other.keyword_s,
            self.sentiment_s + other.sentiment_s,
            self.highlight_s + other.highlight_s,
        )
