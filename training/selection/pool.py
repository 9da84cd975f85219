"""The pool: reviews that may be labelled next, their readers, and which of them are new."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.errors import InvalidInputError
from training.corpus import numbered_lines, open_text, text_key
from training.spreadsheets import original

TEXT = "text"
FORMATS = ("jsonl", "csv", "tsv", "txt")


@dataclass(frozen=True)
class PoolReview:
    """A review without labels. ``shop`` and ``category`` are empty where they are not known."""

    id: str
    text: str
    shop: str = ""
    category: str = ""


def read_pool(path: Path) -> list[PoolReview]:
    """Read reviews from ``.jsonl``, ``.csv``, ``.tsv`` or ``.txt`` (a review a line), gzip-compressed or not.

    Fields are ``text`` and, where there are any, ``id``, ``shop`` (or ``source``) and ``category``; others are not
    read, so a labelled file is as good as one without labels. A ``.tsv`` without a header that names ``text`` is
    ``text<TAB>anything``. A review without an id gets the number of its line, or in a table of its row. In a table with
    a header, the apostrophe is taken off that ``training.spreadsheets`` puts before what looks like a formula.

    Raises:
        InvalidInputError: names the file, the line and the field that cannot be used; or there is no review at all,
            or two have the same id.
    """
    reviews = list(_reviews(path))
    first_line: dict[str, str] = {}
    for where, review in reviews:
        if review.id in first_line:
            raise InvalidInputError(
                f"{where}: id: {review.id!r} is also the id of {first_line[review.id]}; labels come back by id: "
                "give each review its own, or none"
            )
        first_line[review.id] = where
    return [review for _, review in reviews]


def read_texts(path: Path) -> list[str]:
    """The texts of a file that ``read_pool`` reads, and of which ids do not matter; raises the same."""
    return [review.text for _, review in _reviews(path)]


def fresh_rows(pool: Sequence[PoolReview], known_texts: Iterable[str]) -> list[int]:
    """Rows of the pool whose text, up to ``text_key``, is not known and did not stand in an earlier row."""
    seen = {text_key(text) for text in known_texts}
    rows = []
    for row, review in enumerate(pool):
        key = text_key(review.text)
        if key not in seen:
            seen.add(key)
            rows.append(row)
    return rows


def _reviews(path: Path) -> Iterator[tuple[str, PoolReview]]:
    """Reviews with the place where they stand.

    Raises:
        InvalidInputError: as ``read_pool`` says.
    """
    empty = True
    for number, row in _rows(path):
        empty = False
        where = f"{path}:{number}"
        yield where, _review(row, str(number), where)
    if empty:
        raise InvalidInputError(f"{path}: no review in the file; bring one with a field 'text'")


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    suffixes = [suffix.lower().removeprefix(".") for suffix in path.suffixes if suffix.lower() != ".gz"]
    kind = suffixes[-1] if suffixes else ""
    if kind == "jsonl":
        yield from ((number, _json_object(line, f"{path}:{number}")) for number, line in numbered_lines(path))
    elif kind == "txt":
        yield from ((number, {TEXT: line.strip()}) for number, line in numbered_lines(path))
    elif kind in FORMATS:
        yield from _table_rows(path, "\t" if kind == "tsv" else ",")
    else:
        raise InvalidInputError(f"{path}: unknown format; name the file .{', .'.join(FORMATS)}, with or without .gz")


def _json_object(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InvalidInputError(f"{where}: broken JSON: {error}") from None
    if not isinstance(row, dict):
        raise InvalidInputError(f"{where}: a line must be a JSON object, not {type(row).__name__}")
    return row


def _table_rows(path: Path, delimiter: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with open_text(path) as lines:
            rows = csv.reader(lines, delimiter=delimiter, strict=True)
            header = next(rows, [])
            if TEXT in header:
                yield from (
                    (number, dict(zip(header, map(original, cells), strict=False)))
                    for number, cells in enumerate(rows, 1)
                    if cells
                )
                return
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"{path}: cannot be read: {error}; save the table as UTF-8, quotes doubled") from None
    if delimiter == ",":
        raise InvalidInputError(f"{path}: no column {TEXT!r}; the columns are: {', '.join(header) or 'none'}")
    yield from ((number, {TEXT: line.split(delimiter)[0].strip()}) for number, line in numbered_lines(path))


def _review(row: dict[str, Any], default_id: str, where: str) -> PoolReview:
    text = row.get(TEXT)
    if not isinstance(text, str) or not text.strip():
        raise InvalidInputError(f"{where}: text: {text!r} is not a review; give a text that is not blank")
    values = {
        "id": default_id if row.get("id") in (None, "") else row["id"],
        "shop": row.get("shop") or row.get("source") or "",
        "category": row.get("category") or "",
    }
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise InvalidInputError(f"{where}: {name}: {value!r} is not text; write it as a name")
    return PoolReview(text=text, **{name: str(value) for name, value in values.items()})
