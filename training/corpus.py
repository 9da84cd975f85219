"""Text files of reviews: opening them, the pretraining corpora, and the split that keeps reviews from training."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import unicodedata
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO

from client.errors import InvalidInputError

Split = Literal["train", "validation", "test"]

VALIDATION_PERCENT = 6
TEST_PERCENT = 8

GZIP_MAGIC = b"\x1f\x8b"
# How files that people give by mistake begin, and what to do about them.
FOREIGN_FILES = (
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer, not the file itself; fetch it with: git lfs pull"),
    (re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE), "a web page, not data; download the file itself"),
    (
        re.compile(rb"PK\x03\x04"),
        "a zip archive or an Excel workbook; unpack the archive, or save the sheet as tab-separated text (.tsv, UTF-8)",
    ),
    (re.compile(rb"\xd0\xcf\x11\xe0"), "an old Excel workbook; save the sheet as tab-separated text (.tsv, UTF-8)"),
    (re.compile(rb"PAR1"), "a Parquet file; write its rows as JSON lines"),
    (re.compile(rb"\xff\xfe|\xfe\xff"), "UTF-16 text; convert it first, as with: iconv -f utf-16 -t utf-8"),
)


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


def text_key(text: str) -> str:
    """What makes two texts the same review: its characters without blanks, case and forms of compatibility."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def split_of(text: str) -> Split:
    """The split that a text belongs to, from the text alone.

    Hashing the text instead of the id keeps duplicates of one review on one side, whichever file they come from.
    """
    bucket = int.from_bytes(hashlib.sha256(text_key(text).encode()).digest()[:8], "big") % 100
    if bucket < VALIDATION_PERCENT:
        return "validation"
    return "test" if bucket < VALIDATION_PERCENT + TEST_PERCENT else "train"


def open_text(path: Path) -> TextIO:
    """Open a UTF-8 text file, gzip-compressed (told by its first bytes) or not.

    Raises:
        InvalidInputError: there is no such file, or it is no text: a Git LFS pointer, a web page, a workbook.
    """
    stream: io.BufferedReader | gzip.GzipFile
    try:
        stream = path.open("rb")
        if stream.peek(2).startswith(GZIP_MAGIC):
            stream.close()
            stream = gzip.GzipFile(path)
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot open: {error.strerror}") from None
    try:
        head = stream.peek(64)
    except (OSError, EOFError, zlib.error) as error:
        stream.close()
        raise InvalidInputError(f"{path}: broken gzip data: {error}; compress the file again") from None
    for start, advice in FOREIGN_FILES:
        if start.match(head):
            stream.close()
            raise InvalidInputError(f"{path}: this is {advice}")
    return io.TextIOWrapper(stream, encoding="utf-8-sig")


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not blank, each with its number from 1.

    Raises:
        InvalidInputError: the file cannot be opened or read on, or is not UTF-8; the message names the line.
    """
    number = 0
    with open_text(path) as text:
        # Decoded line by line: the text layer decodes in blocks and could not say which line is not UTF-8.
        try:
            for number, raw in enumerate(text.buffer, 1):
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if line.strip():
                    yield number, line
        except UnicodeDecodeError as error:
            raise InvalidInputError(
                f"{path}:{number}: not UTF-8: {error.reason}; convert the file, as with: iconv -f cp949 -t utf-8"
            ) from None
        except (EOFError, OSError, zlib.error) as error:
            raise InvalidInputError(f"{path}:{number + 1}: cannot read on: {error}; copy the file again") from None


def read_aspect_reviews(path: Path, default_domain: str = "fashion") -> Iterator[AspectReview]:
    """Reviews with aspect spans, one JSON object a line (``id``, ``text``, ``aspects[{aspect, polarity, span}]``).

    Raises:
        InvalidInputError: a line is something else.
    """
    for number, line in numbered_lines(path):
        try:
            row: dict[str, Any] = json.loads(line)
            yield AspectReview(
                id=str(row["id"]),
                domain=str(row.get("domain", default_domain)),
                text=str(row["text"]),
                aspects=tuple(Aspect(a["aspect"], int(a["polarity"]), a["span"]) for a in row["aspects"]),
                score=None if row.get("score") is None else float(row["score"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidInputError(f"{path}:{number}: not a review with marked aspects: {error!r}") from None


def read_rated_lines(path: Path) -> Iterator[tuple[int, str]]:
    """``(rating, text)`` pairs of a tab-separated file whose first column is a rating from 1 to 10.

    Raises:
        InvalidInputError: a line has no such rating.
    """
    for number, line in numbered_lines(path):
        rating, _, text = line.partition("\t")
        if not rating.isdecimal():
            raise InvalidInputError(f"{path}:{number}: {rating!r} is not a rating; a line is rating<TAB>text")
        if text.strip():
            yield int(rating), text


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a plain text file that are not blank."""
    for _, line in numbered_lines(path):
        yield line.strip()
