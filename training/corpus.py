"""Readers of the training corpora, and the split that decides which reviews no training touches."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO

Split = Literal["train", "validation", "test"]

VALIDATION_PERCENT = 6
TEST_PERCENT = 8


@dataclass(frozen=True)
class Aspect:
    """One opinion that a person marked: ``name``, ``polarity`` (-1, 0, 1) and the words that carry it."""

    name: str
    polarity: int
    span: str


@dataclass(frozen=True)
class AspectReview:
    """A review with opinions marked by people. ``score`` is the shopper's own rating (0-100) where known."""

    id: str
    domain: str
    text: str
    aspects: tuple[Aspect, ...] = field(default=())
    score: float | None = None


def split_of(text: str) -> Split:
    """The split that a text belongs to, from the text alone.

    Hashing the text instead of the id keeps duplicates of one review on one side, whichever file they come from.
    """
    key = "".join(unicodedata.normalize("NFKC", text).casefold().split())
    bucket = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % 100
    if bucket < VALIDATION_PERCENT:
        return "validation"
    return "test" if bucket < VALIDATION_PERCENT + TEST_PERCENT else "train"


def open_text(path: Path) -> TextIO:
    """Open a UTF-8 text file, gzip-compressed or not."""
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.GzipFile(path), encoding="utf-8")
    return path.open(encoding="utf-8")


def read_aspect_reviews(path: Path, default_domain: str = "fashion") -> Iterator[AspectReview]:
    """Reviews with aspect spans, one JSON object a line (``id``, ``text``, ``aspects[{aspect, polarity, span}]``)."""
    with open_text(path) as lines:
        for line in lines:
            row: dict[str, Any] = json.loads(line)
            yield AspectReview(
                id=str(row["id"]),
                domain=str(row.get("domain", default_domain)),
                text=str(row["text"]),
                aspects=tuple(Aspect(a["aspect"], int(a["polarity"]), a["span"]) for a in row["aspects"]),
                score=None if row.get("score") is None else float(row["score"]),
            )


def read_rated_lines(path: Path) -> Iterator[tuple[int, str]]:
    """``(rating, text)`` pairs of a tab-separated file whose first column is a rating from 1 to 10."""
    with open_text(path) as lines:
        for line in lines:
            rating, _, text = line.rstrip("\n").partition("\t")
            if text.strip():
                yield int(rating), text


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a plain text file that are not blank."""
    with open_text(path) as lines:
        for line in lines:
            if line.strip():
                yield line.strip()
