"""Words: the whitespace-separated pieces of a review that are masked and highlighted."""

from __future__ import annotations

import re
from dataclasses import dataclass

# For str patterns \s and str.split() share one definition of whitespace.
_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Word:
    """A word with its code-point span in the original text: ``text == review[start:end]``."""

    text: str
    start: int
    end: int


def split_words(text: str) -> list[Word]:
    """The pieces of ``text.split()``, in order, each with its span. Nothing is normalized."""
    return [Word(match.group(), match.start(), match.end()) for match in _WORD.finditer(text)]
