"""What is wanted of an analysis, and how an analyzer uses its Triton."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal, get_args

from client.artifact import Labels
from client.encoding import MAX_CHARACTERS
from client.errors import InvalidInputError, quoted

HighlightMode = Literal["exact", "fast", "off"]


@dataclass(frozen=True)
class AnalysisOptions:
    """What is wanted of one call. Hashable, so that it can be a part of a cache's key.

    ``highlight`` masks every word ("exact"), segments first ("fast") or nothing ("off"). ``max_characters`` bounds
    the code points of a review. ``keywords`` are the wanted ones, the overall label among them if it is wanted; empty
    means all. ``thresholds``, by keyword, above 0 and below 1, stand in for the model's own.

    Raises:
        InvalidInputError: names the option that is out of range.
    """

    highlight: HighlightMode = "exact"
    highlights_per_keyword: int = 1
    max_characters: int = MAX_CHARACTERS
    keywords: tuple[str, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.highlight not in get_args(HighlightMode):
            modes = ", ".join(get_args(HighlightMode))
            raise InvalidInputError(f"options.highlight: {quoted(self.highlight)} is none of {modes}")
        for name in ("highlights_per_keyword", "max_characters"):
            _check_positive(f"options.{name}", getattr(self, name))
        for keyword, threshold in self.thresholds.items():
            # Written so that NaN fails it too.
            if not 0 < threshold < 1:
                raise InvalidInputError(
                    f"options.thresholds[{quoted(keyword)}]: {threshold} is not above 0 and below 1"
                )
        object.__setattr__(self, "keywords", tuple(self.keywords))
        object.__setattr__(self, "thresholds", MappingProxyType(dict(self.thresholds)))

    def __hash__(self) -> int:
        values = self.highlight, self.highlights_per_keyword, self.max_characters, self.keywords
        return hash((values, frozenset(self.thresholds.items())))

    def validate(self, labels: Labels) -> None:
        """Check the names in the options against a model's label set.

        Raises:
            InvalidInputError: names the keyword that the label set does not have, or that is there twice.
        """
        for number, keyword in enumerate(self.keywords):
            if keyword in self.keywords[:number]:
                raise InvalidInputError(f"options.keywords[{number}]: {quoted(keyword)} is named twice; name it once")
            if keyword not in labels.all_labels:
                raise InvalidInputError(
                    f"options.keywords[{number}]: {quoted(keyword)} is none of {', '.join(labels.all_labels)}"
                )
        for keyword in self.thresholds:
            if keyword not in labels.keywords:
                raise InvalidInputError(
                    f"options.thresholds[{quoted(keyword)}]: only these have a threshold: {', '.join(labels.keywords)}"
                )


@dataclass(frozen=True)
class BatchingOptions:
    """How an analyzer uses its Triton.

    ``token_budget`` (padding counted) and ``max_rows`` bound one request, ``concurrency`` the requests in flight,
    ``request_timeout_s`` the seconds that one may take together with its retries. ``max_queued_tokens`` bounds the
    tokens of all calls under way: ``ReviewAnalyzer.analyze`` refuses what would go beyond.

    Raises:
        InvalidInputError: names the option that is out of range.
    """

    token_budget: int = 4096
    max_rows: int = 256
    concurrency: int = 4
    request_timeout_s: float = 30.0
    max_queued_tokens: float = math.inf

    def __post_init__(self) -> None:
        for option in fields(self):
            _check_positive(f"batching.{option.name}", getattr(self, option.name))


def _check_positive(name: str, value: Any) -> None:
    # Written so that NaN fails it too.
    if not value > 0:
        raise InvalidInputError(f"{name}: {value} is not above 0")
