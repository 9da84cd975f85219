"""Side by side: figures of several rounds as a median with its spread, and tables that stand in documents."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Spread:
    """The median of some rounds, and the quartiles around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """The spread of at least one value.

        Raises:
            ValueError: there is none.
        """
        values = list(values)
        if not values:
            raise ValueError("no rounds were measured")
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)

    def __format__(self, spec: str) -> str:
        """``f"{spread:.2f}"`` is "0.97 (0.95 to 0.99)"."""
        return f"{self.median:{spec}} ({self.low:{spec}} to {self.high:{spec}})"


def ratios(values: Sequence[float], reference: Sequence[float]) -> Spread:
    """Values over those of the reference in the same round: what slows a round down slows both."""
    return Spread.of(value / other for value, other in zip(values, reference, strict=True))


def differences(values: Sequence[float], reference: Sequence[float]) -> Spread:
    """Values less those of the reference in the same round."""
    return Spread.of(value - other for value, other in zip(values, reference, strict=True))


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def replace_section(document: Path, name: str, text: str) -> None:
    """Put ``text`` between a document's lines ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->``.

    Raises:
        ValueError: the document has no such lines.
    """
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    before, found, rest = document.read_text(encoding="utf-8").partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        raise ValueError(f"{document}: the lines {begin.strip()} and {end} are not there; add them")
    document.write_text(f"{before}{begin}{text}\n{end}{after}", encoding="utf-8")
