"""The parquet reader: rows, ids and what is refused."""

from __future__ import annotations

from pathlib import Path

import pyarrow as arrow
import pytest
from pyarrow import parquet

from client.errors import InvalidInputError
from client.readers import read_rows
from client.results import InvalidRow, ReviewInput


def write_table(path: Path, **columns: list[object]) -> str:
    parquet.write_table(arrow.table(columns), path)
    return str(path)


def test_text_and_ids_are_read_in_batches(tmp_path: Path) -> None:
    texts: list[object] = [f"리뷰 {number}" for number in range(600)]
    source = write_table(tmp_path / "a.parquet", id=list(range(1000, 1600)), text=texts, other=texts)
    assert list(read_rows(source)) == [
        ReviewInput(f"리뷰 {number}", str(1000 + number), number + 1) for number in range(600)
    ]


def test_values_that_are_not_text_fail_alone(tmp_path: Path) -> None:
    good, bad = read_rows(write_table(tmp_path / "a.parquet", text=["좋아요", None]))
    assert good == ReviewInput("좋아요", "1", 1)
    assert isinstance(bad, InvalidRow)
    assert (bad.line, str(bad.error)) == (2, "'text' is null; it must be text")


def test_missing_column_lists_those_there_are(tmp_path: Path) -> None:
    source = write_table(tmp_path / "a.parquet", text=["좋아요"])
    with pytest.raises(InvalidInputError, match=r"no column 'review'; the columns are: text"):
        list(read_rows(source, text_column="review"))


def test_broken_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InvalidInputError, match="not a parquet file"):
        list(read_rows(str(tmp_path / "a.parquet")))
    with pytest.raises(InvalidInputError, match=r"none\.parquet: cannot be read"):
        list(read_rows(str(tmp_path / "none.parquet")))
