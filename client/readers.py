"""Readers: input files as streams of rows. A row that holds no review becomes an ``InvalidRow``, and reading goes on.

Lines and rows count from 1, and are also the ids of reviews that have none: the line of ``.txt`` and ``.jsonl``, the
row below the header of ``.csv`` and ``.tsv``, the row of ``.parquet``. Only lines of nothing are left out.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import re
import sys
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from client.errors import InvalidInputError
from client.results import InvalidRow, ReviewInput

TEXT_COLUMN = "text"
ID_COLUMN = "id"
STDIN = "-"
FORMATS = ("txt", "csv", "tsv", "jsonl", "parquet")
PARQUET_BATCH_ROWS = 256

# What the error handler surrogateescape makes of bytes that are not UTF-8.
_BAD_BYTES = re.compile("[\udc80-\udcff]")
_NOT_UTF8 = "is not UTF-8; convert the file first, as with: iconv -f cp949 -t utf-8"

Row = ReviewInput | InvalidRow


def read_rows(
    source: str, *, file_format: str | None = None, text_column: str | None = None, id_column: str | None = None
) -> Iterator[Row]:
    """Stream the rows of a file, or of standard input for "-".

    The format is the file's extension, also before ``.gz``, unless ``file_format`` says it; standard input is text.
    ``text_column`` and ``id_column`` name the columns or JSON fields, by default "text" and, where there is one, "id".

    Raises:
        InvalidInputError: the file is missing, of an unknown format, broken, or has no such column. Raised while
            iterating where it shows only then.
    """
    name = file_format or _format_of(source)
    if name == "txt" and (text_column or id_column):
        raise InvalidInputError(
            f"{source}: lines of text have no columns for --text-column or --id-column; "
            "say --input-format csv, tsv or jsonl if it is one of these"
        )
    if name == "parquet":
        return _parquet_rows(source, text_column or TEXT_COLUMN, id_column)
    if name == "txt":
        return _read_text(source, _txt_rows)
    if name == "jsonl":
        return _read_text(source, lambda file: _jsonl_rows(file, text_column or TEXT_COLUMN, id_column))
    delimiter = "\t" if name == "tsv" else ","
    return _read_text(source, lambda file: _csv_rows(file, source, delimiter, text_column or TEXT_COLUMN, id_column))


def _format_of(source: str) -> str:
    if source == STDIN:
        return "txt"
    suffixes = [suffix.lower().removeprefix(".") for suffix in Path(source).suffixes]
    name = suffixes[-2] if len(suffixes) > 1 and suffixes[-1] == "gz" else (suffixes or [""])[-1]
    if name not in FORMATS:
        raise InvalidInputError(
            f"{source}: cannot tell the format from the name; say it with --input-format {{{','.join(FORMATS)}}}"
        )
    return name


def _read_text(source: str, rows: Callable[[TextIO], Iterable[Row]]) -> Iterator[Row]:
    """Rows of a text file or standard input, opened as UTF-8 that keeps bad bytes as surrogates for a row to report."""
    try:
        with contextlib.ExitStack() as stack:
            # closefd=False: standard input belongs to the process.
            path: str | int = sys.stdin.fileno() if source == STDIN else source
            binary: Any = stack.enter_context(open(path, "rb", closefd=source != STDIN))
            # Recognized by its first bytes, also on standard input.
            if binary.peek(2)[:2] == b"\x1f\x8b":
                binary = stack.enter_context(gzip.GzipFile(fileobj=binary))
            wrapper = io.TextIOWrapper(binary, encoding="utf-8-sig", errors="surrogateescape", newline="")
            yield from rows(stack.enter_context(wrapper))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InvalidInputError(f"{source}: broken gzip data: {error}; compress the file again") from None
    except OSError as error:
        raise InvalidInputError(f"{source}: cannot be read: {error.strerror or error}") from None


def _txt_rows(file: TextIO) -> Iterator[Row]:
    for line, text in enumerate(file, 1):
        if text := text.rstrip("\r\n"):
            yield _row(text, str(line), line)


def _jsonl_rows(file: TextIO, text_field: str, id_field: str | None) -> Iterator[Row]:
    for line, text in enumerate(file, 1):
        if not text.rstrip("\r\n"):
            continue
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            reason = _NOT_UTF8 if _BAD_BYTES.search(text) else f"is not JSON: {error}"
            yield _invalid(str(line), line, f"the line {reason}")
            continue
        if not isinstance(values, dict):
            yield _invalid(str(line), line, f'the line is not an object like {{"{text_field}": "…"}}')
            continue
        yield _structured_row(values, text_field, id_field, line, line)


def _csv_rows(file: TextIO, source: str, delimiter: str, text_column: str, id_column: str | None) -> Iterator[Row]:
    lines = _Lines(file)
    # Strict: an unbalanced quote is an error of its row instead of a review that swallows the ones behind it.
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        columns = next(reader)
    except (StopIteration, csv.Error) as error:
        reason = f": {error}" if str(error) else "; the file is empty"
        raise InvalidInputError(f"{source}: no header line with column names{reason}") from None
    if _BAD_BYTES.search("".join(columns)):
        raise InvalidInputError(f"{source}: the header line {_NOT_UTF8}")
    _check_columns(source, columns, text_column, id_column)
    number = 0
    while True:
        line = lines.next_row()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            number += 1
            lines.give_back()
            yield _invalid(str(number), line, f"row {number}: {error}; check its quotes")
            continue
        if not cells:
            continue
        number += 1
        if len(cells) != len(columns):
            yield _invalid(str(number), line, f"row {number} has {len(cells)} cells, the header {len(columns)}")
        else:
            yield _structured_row(dict(zip(columns, cells, strict=True)), text_column, id_column, number, line)


class _Lines:
    """The lines of a file for a CSV reader that may have read too many: an open quote takes the rows behind it along.

    How far, and so how much is kept, is bounded by the reader's own limit of 131,072 characters a field.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._again: deque[str] = deque()
        self._row: list[str] = []
        self._number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._file)
        self._row.append(line)
        return line

    def next_row(self) -> int:
        """Begin a row; the number of its first line."""
        self._number += len(self._row)
        self._row.clear()
        return self._number + 1

    def give_back(self) -> None:
        """Let all lines of the row but its first be read again."""
        self._again.extendleft(reversed(self._row[1:]))
        del self._row[1:]


def _parquet_rows(source: str, text_column: str, id_column: str | None) -> Iterator[Row]:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as error:
        raise InvalidInputError(
            f"{source}: reading .parquet needs pyarrow ({error}); "
            'in the folder of ReviewLens: pip install -e ".[parquet]"'
        ) from None
    if source == STDIN:
        raise InvalidInputError("parquet cannot be read from standard input; give the file's name")
    try:
        with parquet.ParquetFile(source) as file:
            columns = file.schema_arrow.names
            _check_columns(source, columns, text_column, id_column)
            wanted = [text_column, *([id_column or ID_COLUMN] if (id_column or ID_COLUMN) in columns else [])]
            number = 0
            for batch in file.iter_batches(batch_size=PARQUET_BATCH_ROWS, columns=wanted):
                for values in batch.to_pylist():
                    number += 1
                    yield _structured_row(values, text_column, id_column, number, number)
    except OSError as error:
        raise InvalidInputError(f"{source}: cannot be read: {error.strerror or error}") from None
    except arrow.ArrowException as error:
        raise InvalidInputError(f"{source}: not a parquet file, or a broken one: {error}") from None


def _check_columns(source: str, columns: list[str], text_column: str, id_column: str | None) -> None:
    for option, column in (("--text-column", text_column), ("--id-column", id_column)):
        if column is not None and column not in columns:
            names = ", ".join(columns) or "none"
            raise InvalidInputError(
                f"{source}: no column {column!r}; the columns are: {names}. Choose one with {option}"
            )
    for column in (text_column, id_column or ID_COLUMN):
        if (count := columns.count(column)) > 1:
            raise InvalidInputError(f"{source}: {count} columns are named {column!r}; give each its own name")


def _structured_row(values: dict[str, Any], text_field: str, id_field: str | None, number: int, line: int) -> Row:
    """A row of named values; ``number`` is its id if it has none."""
    default_id = str(number)
    found_id = values.get(id_field or ID_COLUMN)
    if found_id is None and id_field and id_field not in values:
        return _invalid(default_id, line, f"no field {id_field!r}; the fields are: {', '.join(values)}")
    if found_id is None or found_id == "":
        found_id = default_id
    elif isinstance(found_id, bool) or not isinstance(found_id, str | int):
        return _invalid(
            default_id, line, f"{id_field or ID_COLUMN!r} is {_kind(found_id)}; it must be text or a whole number"
        )
    if text_field not in values:
        fields = ", ".join(values) or "none"
        return _invalid(str(found_id), line, f"no field {text_field!r}; the fields are: {fields}")
    text = values[text_field]
    if not isinstance(text, str):
        return _invalid(str(found_id), line, f"{text_field!r} is {_kind(text)}; it must be text")
    return _row(text, str(found_id), line)


def _row(text: str, row_id: str, line: int) -> Row:
    if _BAD_BYTES.search(row_id + text):
        return _invalid(row_id, line, f"the row {_NOT_UTF8}")
    return ReviewInput(text, row_id, line)


def _invalid(row_id: str, line: int, message: str) -> InvalidRow:
    return InvalidRow(row_id, line, InvalidInputError(message))


def _kind(value: object) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return "null" if value is None else kinds.get(type(value), type(value).__name__)
