"""The gate names what is lost, and the table says what the gate says."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace
from pathlib import Path

import pytest

from client.errors import InvalidInputError
from export.compression.gate import Bounds, GateError
from export.compression.measure import Measurement
from export.compression.report import BEGIN, END, csv_text, markdown, update

REFERENCE = Measurement(
    variant="fp32",
    size=80_000_000,
    compressed_size=70_000_000,
    keyword_micro=0.9,
    keyword_macro=0.88,
    by_keyword={"가격": 0.95, "배송": 0.81, "길이": 0.5},
    keyword_labels={"가격": 200, "배송": 30, "길이": 29},
    sentiment_accuracy=0.85,
    sentiment_macro=0.75,
    by_sentiment={"부정": 0.7, "긍정": 0.8},
    highlight_agreement=1.0,
    company=0.0,
    milliseconds={"1x32": 5.0, "64x64": 400.0},
    speedup={"1x32": 1.0, "64x64": 1.0},
)
BOUNDS = Bounds(keyword_loss=0.01, sentiment_loss=0.02, highlight_agreement=0.9, company=0.001)
SMALL = replace(REFERENCE, variant="int8", size=20_000_000, highlight_agreement=0.95)


@pytest.mark.parametrize(
    ("figure", "value", "metric"),
    [
        ("keyword_micro", 0.885, "keyword micro F1"),
        ("sentiment_accuracy", 0.82, "sentiment accuracy"),
        ("keyword_macro", 0.85, "keyword macro F1"),
        ("sentiment_macro", 0.72, "sentiment macro F1"),
        ("by_keyword", {"가격": 0.89, "배송": 0.77, "길이": 0.5}, "F1 of 가격"),
        ("by_keyword", {"가격": 0.95, "배송": 0.4, "길이": 0.5}, "F1 of 배송"),
        ("by_keyword", {"가격": 0.95, "배송": math.nan, "길이": 0.5}, "F1 of 배송"),
        ("highlight_agreement", 0.899, "highlight agreement"),
        ("company", 0.04, "effect of batch mates"),
        ("keyword_micro", math.nan, "keyword micro F1"),
        ("highlight_agreement", math.nan, "highlight agreement"),
    ],
)
def test_each_loss_is_refused(figure: str, value: object, metric: str) -> None:
    found = Measurement(**{**vars(SMALL), figure: value})
    assert list(BOUNDS.failures(found, REFERENCE)) == [metric]
    with pytest.raises(GateError, match="int8 is refused"):
        BOUNDS.require(found, REFERENCE)


def test_metric_value_and_bound_are_named() -> None:
    found = replace(SMALL, keyword_micro=0.85, highlight_agreement=0.5)
    with pytest.raises(GateError) as refused:
        BOUNDS.require(found, REFERENCE)
    assert str(refused.value) == (
        "int8 is refused: keyword micro F1 0.8500 is 0.0500 below the uncompressed 0.9000, allowed are 0.01 "
        "(--max-keyword-loss); highlight agreement 0.5000 is below 0.9 (--min-highlight-agreement)"
    )


def test_what_is_within_its_bounds_passes() -> None:
    # 길이 has too few labels to tell a loss from chance.
    by_keyword = {"가격": 0.901, "배송": 0.77, "길이": 0.1}
    better = replace(
        SMALL, keyword_micro=0.95, by_keyword=by_keyword, sentiment_accuracy=0.831, highlight_agreement=0.9
    )
    assert BOUNDS.failures(better, REFERENCE) == {}
    BOUNDS.require(better, REFERENCE)


def test_a_row_for_each_variant() -> None:
    refused = replace(SMALL, variant="layers=3", sentiment_accuracy=0.5, keyword_micro=0.5)
    text = markdown([REFERENCE, SMALL, refused], BOUNDS)
    first, second = text.split("F1 by keyword:")
    lines = [line for line in first.splitlines() if line.startswith("| `")]
    assert [line.rsplit("|")[-2].strip() for line in lines] == [
        "reference",
        "passes",
        "refused: keyword micro F1, sentiment accuracy",
    ]
    assert "| `int8` | 20.0 | 70.0 | 0.900 |" in lines[1]
    assert "| `fp32` | 0.950 | 0.810 | 0.500 |" in second
    widths = {line.count("|") for line in first.splitlines() if line.startswith("|")}
    assert len(widths) == 1, "every line has every column"


def test_every_figure_is_in_the_csv() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text([REFERENCE, SMALL]))))
    assert {row["variant"] for row in rows} == {"fp32", "int8"}
    figures = {row["figure"]: row["value"] for row in rows if row["variant"] == "int8"}
    assert figures["by_keyword: 배송"] == "0.81"
    assert figures["size"] == "20000000"
    assert len(figures) == 8 + 2 * 3 + 3 * 2


def test_a_document_is_updated_between_its_markers(tmp_path: Path) -> None:
    document = tmp_path / "compression.md"
    document.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n", encoding="utf-8")
    for table in ("| new |\n", "| newer |\n"):
        update(document, table)
        assert document.read_text(encoding="utf-8") == f"before\n\n{BEGIN}\n{table}{END}\n\nafter\n"


@pytest.mark.parametrize("text", [None, "no markers", f"{END} before {BEGIN}"])
def test_a_document_without_a_place_is_told(tmp_path: Path, text: str | None) -> None:
    document = tmp_path / "compression.md"
    if text is not None:
        document.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInputError, match="--update"):
        update(document, "| new |\n")
