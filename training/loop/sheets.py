"""Labelling in a spreadsheet: a CSV with a column a label, written for Excel and read back from it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from client.errors import InvalidInputError
from training.data import LabelSet
from training.loop.answers import Answer, Task
from training.spreadsheets import ENCODING, neutral, original

ID, TEXT, LABELLER, PROBLEM = "id", "text", "labeller", "problem"
COLUMNS = (ID, TEXT, "shop", "category", LABELLER, PROBLEM)
# Excel for Korean Windows saves "CSV" as CP949, and only "CSV UTF-8" as UTF-8.
ENCODINGS = (ENCODING, "cp949")
DELIMITERS = ",;\t"


def sheet(rows: Sequence[tuple[Task, str, str, Mapping[str, str]]], label_set: LabelSet) -> str:
    """The text of a CSV (to be written in ``spreadsheets.ENCODING``) of ``(task, labeller, problem, cells)`` rows."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([*COLUMNS, *map(neutral, label_set.all_labels)])
    scores = set(map(str, label_set.sentiment_scores))
    for task, labeller, problem, cells in rows:
        said = [cells.get(name, "") for name in label_set.all_labels]
        texts = map(neutral, (task.id, task.text, task.shop, task.category, labeller, problem))
        writer.writerow([*texts, *(value if value in scores else neutral(value) for value in said)])
    return out.getvalue()


def read_sheet(path: Path, number: int) -> list[Answer]:
    """The answers of a filled-in sheet; a row that cannot be read is an answer with its ``problem``.

    ``number`` is the file's place among all files. A blank labeller is named after the file.

    Raises:
        InvalidInputError: the file cannot be read, or its first line does not name the columns.
    """
    text = _decoded(path)
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(DELIMITERS, key=first.count))
    try:
        header = [original(name.strip()) for name in next(reader, [])]
    except csv.Error as error:
        raise InvalidInputError(f"{path}:1: cannot be read: {error}; keep the line as it was exported") from None
    if missing := {ID, TEXT} - set(header):
        raise InvalidInputError(
            f"{path}: no column {' and '.join(sorted(missing))} in the first line; keep the line as it was exported"
        )
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        raise InvalidInputError(f"{path}: column {', '.join(twice)} stands twice in the first line; keep one")
    answers = []
    for row in _rows(reader):
        where = f"{path.name}:{reader.line_num}"
        if isinstance(row, csv.Error):
            answers.append(Answer(where, number, "", None, path.stem, problem=f"cannot be read: {row}"))
        elif any(cell.strip() for cell in row):
            answers.append(_answer(dict(zip(header, row, strict=False)), row[len(header) :], where, number, path.stem))
    return answers


def _answer(cells: dict[str, str], rest: list[str], where: str, number: int, stem: str) -> Answer:
    said = {name: original(value.strip()) for name, value in cells.items() if name not in COLUMNS and value.strip()}
    extra = [value for value in rest if value.strip()]
    return Answer(
        where,
        number,
        original(cells.get(ID, "").strip()),
        original(cells.get(TEXT, "")),
        original(cells.get(LABELLER, "").strip()) or stem,
        said,
        f"{len(extra)} cells stand right of the last column" if extra else "",
    )


def _rows(reader: Iterator[list[str]]) -> Iterator[list[str] | csv.Error]:
    """Rows, with the error in place of a row that the reader refuses."""
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield error


def _decoded(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot open: {error.strerror}") from None
    for encoding in ENCODINGS:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise InvalidInputError(f"{path}: neither UTF-8 nor CP949; save it as 'CSV UTF-8'")
