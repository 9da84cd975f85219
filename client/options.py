"""How reviews are analyzed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args

from client.encoding import MAX_CHARACTERS
from client.errors import InvalidInputError

HighlightMode = Literal["exact", "fast", "off"]


@dataclass(frozen=True)
class AnalysisOptions:
    """``highlight`` masks every word ("exact"), segments first ("fast") or nothing ("off").

    ``token_budget`` (padding counted) and ``max_rows`` bound one request to Triton, ``concurrency`` the requests in
    flight, ``deadline_s`` the seconds that each of them may take, ``max_characters`` the code points of a review.

    Raises:
        InvalidInputError: names the option that is out of range.
    """

    highlight: HighlightMode = "exact"
    highlights_per_keyword: int = 1
    token_budget: int = 4096
    max_rows: int = 256
    concurrency: int = 4
    deadline_s: float = 30.0
    max_characters: int = MAX_CHARACTERS

    def __post_init__(self) -> None:
        if self.highlight not in get_args(HighlightMode):
            raise InvalidInputError(f"highlight: {self.highlight!r} is none of {', '.join(get_args(HighlightMode))}")
        for name in (f.name for f in fields(self) if f.name != "highlight"):
            # Written so that NaN fails it too.
            if not getattr(self, name) > 0:
                raise InvalidInputError(f"{name}: {getattr(self, name)} is not above 0")
